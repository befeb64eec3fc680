//! Any text as a tool result, and any bytes as a request that holds one: what is shortened is never longer,
//! shortening twice changes nothing, a changed body is a body, and nothing but results changes in it.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::mutate::compress::{self, Settings};
use weir::mutate::tool_results;
use weir::wire::texts;
use weir::wire::{envelope, json, splice};

fuzz_target!(|input: (bool, bool, &str)| {
    let (lossy, as_body, text) = input;
    let settings = Settings { chars_min: 40, lossy };
    if let Some(found) = compress::compress(text, &settings) {
        assert!(found.text.len() < text.len());
        assert_eq!(compress::compress(&found.text, &settings), None);
    }
    let body = if as_body { text.as_bytes().to_vec() } else { around(text) };
    let body = Bytes::from(body);
    if envelope::scan(&body).is_err() {
        return;
    }
    let found = tool_results::shorten(&body, &texts::texts(&body), &settings);
    let is_changed = !found.edits.is_empty();
    let out = splice::splice(&body, found.edits).expect("results never overlap").contiguous();
    assert_eq!(out.len() < body.len(), is_changed);
    envelope::scan(&out).expect("a changed body is a body");
    if !as_body {
        let end = |body: &Bytes| body[body.len() - TAIL.len()..].to_vec();
        assert_eq!(end(&out), TAIL);
    }
});

const TAIL: &[u8] = b"},{\"role\":\"user\",\"content\":\"x\"}]}";

/// A request with that tool result.
fn around(text: &str) -> Vec<u8> {
    let mut body = b"{\"messages\":[{\"role\":\"tool\",\"content\":".to_vec();
    json::quote_into(text, &mut body);
    body.extend_from_slice(TAIL);
    body
}
