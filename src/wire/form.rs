//! The `model` field of a multipart form (RFC 7578): audio and image paths name their model so.
//!
//! Only that field is looked for; files are stepped over and never copied. What a form means beside it is its
//! provider's business.

use memchr::memmem;

use crate::base::limit::{FORM_HEAD_BYTES_MAX, FORM_PARTS_MAX, MODEL_NAME_BYTES_MAX};
use crate::wire::syntax::Span;

/// What a form says of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no such field.
    Nothing,
    /// It lies there.
    Model(Span),
    /// It cannot be told: the form is broken, or names a model twice, which two readers could take in two ways.
    Unclear,
}

/// Looks for the model in a body of that content type; `None` if that is no multipart form. Whatever another reader
/// could take in another way is unclear: delimiters without their own line, heads that are folded or written in
/// a way that clients have no reason for, anything behind the end.
pub fn model(content_type: &[u8], body: &[u8]) -> Option<Found> {
    let Some(boundary) = boundary(content_type)? else { return Some(Found::Unclear) };
    Some(read(boundary, body).unwrap_or(Found::Unclear))
}

/// The same between delimiters of that name; `None` if it is unclear.
fn read(boundary: &[u8], body: &[u8]) -> Option<Found> {
    let line = [b"\r\n--", boundary].concat();
    let next = memmem::Finder::new(&line);
    let mut found = Found::Nothing;
    let mut rest = body.strip_prefix(&line[2..])?;
    for _ in 0..FORM_PARTS_MAX {
        if let Some(end) = rest.strip_prefix(b"--") {
            return end.trim_ascii().is_empty().then_some(found);
        }
        let part = rest.strip_prefix(b"\r\n")?;
        let start = body.len() - part.len();
        let len = next.find(part)?;
        let head = &part[..len.min(FORM_HEAD_BYTES_MAX)];
        let head_len = memmem::find(head, b"\r\n\r\n")?;
        if holds_other_delimiter(&part[head_len..len], &line[2..]) {
            return None;
        }
        if field_name(&head[..head_len])?.eq_ignore_ascii_case(b"model") {
            let value = Span { start: start + head_len + 4, end: start + len };
            if found != Found::Nothing || !is_name(value.of(body)) {
                return None;
            }
            found = Found::Model(value);
        }
        rest = &part[len + line.len()..];
    }
    None
}

/// Whether a reader that takes any line break for one would end the part earlier.
fn holds_other_delimiter(content: &[u8], delimiter: &[u8]) -> bool {
    let starts = memmem::find_iter(content, delimiter);
    starts.filter_map(|at| at.checked_sub(1)).any(|at| matches!(content[at], b'\r' | b'\n'))
}

/// What separates the parts, by the parameter of the content type: `None` if that is no form, nothing inside if it
/// is none that can be told.
#[expect(clippy::option_option, reason = "no form, and a form that is unclear")]
fn boundary(content_type: &[u8]) -> Option<Option<&[u8]>> {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if !parts.next()?.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let value = |part: &'_ [u8]| part.len() > 9 && part[..9].eq_ignore_ascii_case(b"boundary=");
    let (Some(only), None) = (parts.next().filter(|part| value(part)), parts.next()) else {
        return Some(None);
    };
    let value = &only[9..];
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let value = quoted.unwrap_or(value);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',');
    Some(Some(value).filter(|value| (1..=70).contains(&value.len()) && value.iter().all(is_plain)))
}

/// The name of the field with that head; `None` where it is not written as every client writes it.
fn field_name(head: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"content-disposition:";
    let mut name = None;
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        // The last stands without its end here; a break that is none to every reader ends no other.
        let line = if lines.peek().is_some() { line.strip_suffix(b"\r")? } else { line };
        if line.first().is_none_or(u8::is_ascii_whitespace) || line.contains(&b'\r') {
            return None;
        }
        if line.len() >= KEY.len() && line[..KEY.len()].eq_ignore_ascii_case(KEY) {
            let value = line[KEY.len()..].trim_ascii().strip_prefix(b"form-data;")?;
            if name.replace(disposed(value)?).is_some() {
                return None;
            }
        } else if !line.iter().take_while(|byte| **byte != b':').all(u8::is_ascii_graphic) {
            // What one reader takes for a blank, and cuts off, is a part of the name to another.
            return None;
        }
    }
    name
}

/// The name among `name="..."` and `filename="..."`, in either order and each at most once.
fn disposed(mut rest: &[u8]) -> Option<&[u8]> {
    let (mut name, mut file) = (None, None);
    loop {
        rest = rest.trim_ascii_start();
        let (place, value) = match rest {
            _ if rest.starts_with(b"name=\"") => (&mut name, &rest[6..]),
            _ if rest.starts_with(b"filename=\"") => (&mut file, &rest[10..]),
            // The same name in another encoding; files only, and nothing behind it.
            _ if rest.starts_with(b"filename*=") && file.is_some() => {
                return name.filter(|_| rest[10..].iter().copied().all(is_extended));
            }
            _ => return None,
        };
        let end = value.iter().position(|byte| *byte == b'"')?;
        if value[..end].contains(&b'\\') || place.replace(&value[..end]).is_some() {
            return None;
        }
        match &value[end + 1..] {
            [] => return name,
            [b';', more @ ..] => rest = more,
            _ => return None,
        }
    }
}

/// Whether a value of RFC 8187 may hold that byte.
fn is_extended(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~'%".contains(&byte)
}

fn is_name(value: &[u8]) -> bool {
    (1..=MODEL_NAME_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIND: &[u8] = b"multipart/form-data; boundary=XX";

    fn form(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut out = String::new();
        for (head, value) in parts {
            let start = "--XX\r\nContent-Disposition: form-data; ";
            out += &[start, *head, "\r\n\r\n", *value, "\r\n"].concat();
        }
        (out + "--XX--\r\n").into_bytes()
    }

    fn named(body: &[u8]) -> Option<&str> {
        match model(KIND, body)? {
            Found::Model(span) => std::str::from_utf8(span.of(body)).ok(),
            _ => None,
        }
    }

    #[test]
    fn the_model_is_found_among_files() {
        let file = ("name=\"file\"; filename=\"model\"", "ID3\r\nname=\"model\"\r\n\r\nno");
        let one = form(&[file, ("name=\"model\"", "whisper-1"), ("name=\"language\"", "en")]);
        assert_eq!(named(&one), Some("whisper-1"));
        assert_eq!(model(KIND, &form(&[file])), Some(Found::Nothing));
        let far = ("name=\"file\"; filename=\"gr.mp3\"; filename*=utf-8''gr%C3%BC.mp3", "ID3");
        assert_eq!(model(KIND, &form(&[far])), Some(Found::Nothing));
        assert_eq!(model(b"multipart/form-data; boundary=\"XX\"", &one), model(KIND, &one));
    }

    #[test]
    fn what_is_unclear_says_so() {
        let model_is = ("name=\"model\"", "a");
        let other = "y\r\n--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nb";
        let mut bodies = vec![
            form(&[model_is, ("name=\"model\"", "b")]),
            form(&[model_is, ("name=\"Model\"", "b")]),
            form(&[("name=\"model\"", "")]),
            form(&[("name=\"model\"", "a\r\nb")]),
            b"--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na".to_vec(),
            b"--XX oh\r\n".to_vec(),
            [b"preamble\r\n".to_vec(), form(&[model_is])].concat(),
            [form(&[model_is]), form(&[("name=\"model\"", "b")])].concat(),
            form(&[("name=\"x\"", &other.replace("\r\n", "\n")), model_is]),
            form(&[("name=\"x\"", &other.replace("\r\n", "\r")), model_is]),
        ];
        for odd in [
            "name = \"model\"",
            "name*=utf-8''model",
            "name='model'",
            "name=model",
            "\r\n name=\"model\"",
            "name=\"mo\\del\"",
            "filename=\"x\" name=\"model\"",
            "name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"",
            "name=\"x\"\r\nContent-Disposition : form-data; name=\"model\"",
            "name=\"x\"\r\n\u{a0}Content-Disposition: form-data; name=\"model\"",
            "name=\"x\"\r\nContent-Disposition\u{3000}: form-data; name=\"model\"",
            "name=\"x\"\r\n\u{b}Content-Disposition: form-data; name=\"model\"",
            "name=\"x\"\nX-Other: y",
            "name=\"x\"; filename=\"a\"; filename*=utf-8''a; name=\"model\"",
            "name=\"x\"; filename=\"a\"; filename*=\"a\"",
        ] {
            bodies.push(form(&[(odd, "a")]));
        }
        for body in bodies {
            assert_eq!(model(KIND, &body), Some(Found::Unclear), "{}", body.escape_ascii());
        }
        let twice = b"multipart/form-data; boundary=XX; boundary=YY";
        assert_eq!(model(twice, &form(&[model_is])), Some(Found::Unclear));
    }

    #[test]
    fn a_delimiter_stands_on_a_line_of_its_own() {
        let text = "a--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ncheapZZ--XX--";
        let body = form(&[("name=\"prompt\"", text), ("name=\"model\"", "dear")]);
        assert_eq!(named(&body), Some("dear"));
    }

    #[test]
    fn other_bodies_are_no_forms() {
        assert_eq!(model(b"application/json", b"{}"), None);
        assert_eq!(model(b"multipart/form-data", b"--XX"), Some(Found::Unclear));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body in "(--XX|\r\n|-|name=\"model\"|;|:|content-disposition|a){0,40}") {
            if let Some(Found::Model(span)) = model(KIND, body.as_bytes()) {
                prop_assert!(!span.of(body.as_bytes()).is_empty());
            }
        }
    }
}
