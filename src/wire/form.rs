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

/// Looks for the model in a body of that content type; `None` if that is no multipart form.
pub fn model(content_type: &[u8], body: &[u8]) -> Option<Found> {
    let boundary = boundary(content_type)?;
    let line = [b"--", boundary].concat();
    let next = memmem::Finder::new(&line);
    let mut found = Found::Nothing;
    let mut at = next.find(body)? + line.len();
    for _ in 0..FORM_PARTS_MAX {
        if body[at..].starts_with(b"--") {
            return Some(found);
        }
        let Some(part) = body[at..].strip_prefix(b"\r\n") else { return Some(Found::Unclear) };
        at = body.len() - part.len();
        let head = part.get(..FORM_HEAD_BYTES_MAX).unwrap_or(part);
        let (Some(head_end), Some(len)) = (memmem::find(head, b"\r\n\r\n"), next.find(part)) else {
            return Some(Found::Unclear);
        };
        let (start, end) = (at + head_end + 4, at + len);
        if is_model(&head[..head_end]) {
            // In front of the next boundary there is a line's end that belongs to it.
            let value = Span { start, end: end.saturating_sub(2) };
            if found != Found::Nothing || value.end < start || !is_name(value.of(body)) {
                return Some(Found::Unclear);
            }
            found = Found::Model(value);
        }
        at = end + line.len();
    }
    Some(Found::Unclear)
}

/// What separates the parts, by the parameter of the content type.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if !parts.next()?.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.split_at_checked(9)?;
        name.eq_ignore_ascii_case(b"boundary=").then_some(value)
    })?;
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(quoted.unwrap_or(value)).filter(|value| (1..=70).contains(&value.len()))
}

/// Whether a part with that head is the field `model`, and no file.
fn is_model(head: &[u8]) -> bool {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.into_iter().any(|line| {
        let lower = line.to_ascii_lowercase();
        lower.starts_with(b"content-disposition:")
            && [&b"name=\"model\""[..], b"name=model"].iter().any(|name| ends_so(&lower, name))
    })
}

/// Whether a parameter of the line is exactly that.
fn ends_so(line: &[u8], parameter: &[u8]) -> bool {
    line.split(|byte| *byte == b';').any(|part| part.trim_ascii() == parameter)
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
        assert_eq!(model(b"multipart/form-data; boundary=\"XX\"", &one), model(KIND, &one));
    }

    #[test]
    fn what_is_unclear_says_so() {
        let model_is = ("name=\"model\"", "a");
        for body in [
            form(&[model_is, ("name=\"model\"", "b")]),
            form(&[("name=\"model\"", "")]),
            form(&[("name=\"model\"", "a\r\nb")]),
            b"--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na".to_vec(),
            b"--XX oh\r\n".to_vec(),
        ] {
            assert_eq!(model(KIND, &body), Some(Found::Unclear), "{}", body.escape_ascii());
        }
        assert_eq!(model(b"application/json", b"{}"), None);
        assert_eq!(model(b"multipart/form-data", b"--XX"), None);
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
