//! Any bytes as a request body: the scan accepts what `serde_json` accepts and nothing else, and
//! edits of an accepted body do what the same edits of a tree would.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use weir::wire::envelope::{self, Envelope, ScanError};
use weir::wire::json;
use weir::wire::slot::Slot;
use weir::wire::splice::{self, Edit};
use weir::wire::syntax::{Problem, Span};

fuzz_target!(|body: &[u8]| {
    let found = envelope::scan(body);
    if let Err(error) = &found {
        assert!(error.offset() <= body.len());
        assert_eq!(error.fault().code, error.code());
    }
    match &found {
        // The one bound that `IgnoredAny` does not have.
        Err(ScanError::Syntax(error)) if error.problem == Problem::TooDeep => {}
        Err(ScanError::Syntax(_)) => assert!(!is_object(body)),
        Ok(_) | Err(ScanError::Field(_)) => assert!(is_object(body)),
    }
    assert_eq!(json::check(body).is_ok(), is_json(body) && !is_too_deep(body));
    if let Ok(envelope) = found {
        edits_agree(&envelope, &Bytes::copy_from_slice(body));
    }
});

/// `IgnoredAny` reads no string as text, so UTF-8 has to be checked beside it.
fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn is_object(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !b" \t\r\n".contains(byte));
    first == Some(&b'{') && is_json(body)
}

fn is_too_deep(body: &[u8]) -> bool {
    matches!(json::check(body), Err(error) if error.problem == Problem::TooDeep)
}

fn edits_agree(envelope: &Envelope, body: &Bytes) {
    let mut edits = vec![splice::set_model(envelope, &Bytes::from_static(b"\"new\""))];
    edits.extend(splice::ask_for_usage(envelope, body));
    let fixed = [Slot::Model, Slot::StreamOptions].map(|slot| envelope.slot(slot).copied());
    let mut removed = Vec::new();
    // Which members go is drawn from the body itself.
    for member in json::members(body, Span::whole(body)) {
        if member.value.len() % 2 == 0 && !fixed.contains(&Some(member)) {
            edits.push(Edit::remove(&member));
            removed.push(member);
        }
    }
    let spliced = splice::splice(body, edits).expect("edits of one scan never overlap");
    let out = spliced.contiguous();
    assert_eq!(out.len(), spliced.len());
    assert_eq!(out, spliced.segments().concat());
    let again = envelope::scan(&out).expect("an edited body is a body");
    assert_eq!(again.model(&out), Some("new"));
    assert!(again.wants_usage());
    assert_eq!(again.wants_stream(), envelope.wants_stream() && !gone(envelope, &removed));
    trees_agree(body, &out);
}

fn gone(envelope: &Envelope, removed: &[weir::wire::syntax::Member]) -> bool {
    envelope.slot(Slot::Stream).is_some_and(|stream| removed.contains(stream))
}

/// Every member that is left has the value that it had, seen through a tree where there is one:
/// `serde_json` builds none of lone surrogates, huge numbers or the last level of nesting.
fn trees_agree(body: &[u8], out: &[u8]) {
    let (Ok(before), Ok(after)) =
        (serde_json::from_slice::<Value>(body), serde_json::from_slice::<Value>(out))
    else {
        return;
    };
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return };
    assert_eq!(after["model"], json!("new"));
    for (key, value) in after {
        match key.as_str() {
            "model" => {}
            "stream_options" => options_agree(before.get(key), value),
            // Of a key that stood there twice, the first may be what is left.
            _ => assert!(before.contains_key(key)),
        }
    }
}

fn options_agree(before: Option<&Value>, after: &Value) {
    let mut expected = before.cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    expected["include_usage"] = json!(true);
    assert_eq!(&expected, after);
}
