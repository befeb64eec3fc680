//! Any bytes as a multipart form: a model that is found is one that the most generous reader finds there too, and
//! that reader finds no other; where none is found it finds none, and nothing of the form may be missing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::base::limit::MODEL_NAME_BYTES_MAX;
use weir::wire::form::{self, Found};

const KINDS: [&[u8]; 4] = [
    b"multipart/form-data; boundary=XX",
    b"multipart/form-data; boundary=\"XX\"",
    b"Multipart/Form-Data;boundary=XX",
    b"multipart/form-data; boundary=XX; boundary=Y",
];

/// What forms are made of; the first bytes of an input stand for these.
const WORDS: [&[u8]; 24] = [
    b"--XX\r\n",
    b"\r\n--XX\r\n",
    b"\r\n--XX--\r\n",
    b"\n--XX\n",
    b"\r--XX\r",
    b"--XX",
    b"--",
    b"\r\n\r\n",
    b"\n\n",
    b"Content-Disposition: form-data; name=\"model\"",
    b"Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"",
    b"content-disposition:form-data;",
    b"Content-Disposition : form-data;",
    b" name=\"model\"",
    b" name=model",
    b"; NAME = \"Model\"",
    b"filename=\"model\"",
    b"; filename*=utf-8''a",
    b"Content-Type: audio/mpeg\r\n",
    b"X-A: b\n",
    b"\r\n",
    b"\n",
    b"\\\"",
    b"gpt-4o",
];

/// Where in a form the input stands: it is all of it, in a head, behind one, in a file, behind the model.
const FRAMES: [[&[u8]; 2]; 5] = [
    [b"", b""],
    [b"--XX\r\nContent-Disposition: form-data; ", b"\r\n\r\ngpt-4o\r\n--XX--\r\n"],
    [b"--XX\r\nContent-Disposition: form-data; name=\"a\"", b"\r\n\r\ngpt-4o\r\n--XX--\r\n"],
    [
        b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
        b"\r\n--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--XX--\r\n",
    ],
    [b"--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o", b"--XX--\r\n"],
];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, frame, letters) = input;
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let [before, after] = FRAMES[usize::from(frame) % FRAMES.len()];
    let mut body = before.to_vec();
    for letter in letters {
        let word = WORDS.get(usize::from(*letter)).copied();
        body.extend_from_slice(word.unwrap_or(std::slice::from_ref(letter)));
    }
    body.extend_from_slice(after);
    assert_eq!(form::model(b"application/json", &body), None);
    let odd = form::model(&[b"multipart/form-data;", letters].concat(), b"--XX--");
    assert!(odd.is_some_and(|found| matches!(found, Found::Nothing | Found::Unclear)));
    let found = form::model(kind, &body).expect("a form");
    let models = generous(&body);
    match found {
        Found::Unclear => return,
        Found::Nothing => assert_eq!(models, Vec::<&[u8]>::new()),
        Found::Model(span) => {
            let name = span.of(&body);
            assert_eq!(models, [name]);
            assert!((1..=MODEL_NAME_BYTES_MAX).contains(&name.len()));
            assert!(name.iter().all(u8::is_ascii_graphic));
            let other = [&body[..span.start], b"other", &body[span.end..]].concat();
            let Some(Found::Model(again)) = form::model(kind, &other) else { panic!("no model") };
            assert_eq!((again.start, again.of(&other)), (span.start, &b"other"[..]));
        }
    }
    let end = body.trim_ascii_end().len();
    assert_eq!(form::model(kind, &body[..end - 1]), Some(Found::Unclear));
});

/// The values of every field `model`, as one reads who takes any line break for one, and any spelling.
fn generous(body: &[u8]) -> Vec<&[u8]> {
    let is_break = |at: usize| matches!(body[at], b'\r' | b'\n');
    let starts = (0..body.len()).filter(|at| body[*at..].starts_with(b"--XX"));
    let starts: Vec<usize> = starts.filter(|at| *at == 0 || is_break(*at - 1)).collect();
    let mut out = Vec::new();
    for (place, start) in starts.iter().enumerate() {
        let end = starts.get(place + 1).copied().unwrap_or(body.len());
        let Some((_, rest)) = line(&body[*start..end]) else { continue };
        let (mut rest, mut is_model) = (rest, false);
        while let Some((head, after)) = line(rest) {
            rest = after;
            if head.is_empty() {
                break;
            }
            is_model |= says_model(head);
        }
        if is_model {
            let value = rest.strip_suffix(b"\n").unwrap_or(rest);
            out.push(value.strip_suffix(b"\r").unwrap_or(value));
        }
    }
    out
}

/// A line without its break, and what follows.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let length = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
    Some((&text[..end], &text[end + length..]))
}

/// Whether a line of a head names the field `model`.
fn says_model(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).to_ascii_lowercase();
    let Some((key, value)) = text.split_once(':') else { return false };
    if key.trim() != "content-disposition" {
        return false;
    }
    let mut is_quoted = false;
    let parameters = value.split(|letter| {
        is_quoted ^= letter == '"';
        letter == ';' && !is_quoted
    });
    let pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim() == "name");
    named.any(|(_, value)| value.trim().trim_matches('"') == "model")
}
