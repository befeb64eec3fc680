//! Any text as path, header, key, amount and address, and any bytes as a request to `/infer` and as its answer:
//! nothing panics, no spelling of a path of ours is carried past it, and what is read can be read again.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use weir::base::limit::{COOLDOWN_MS_MAX, PATH_DECODES_MAX};
use weir::base::money::NanoUsd;
use weir::base::surface::Surface;
use weir::config::raw_infer::Infer;
use weir::exchange::defence::Guard;
use weir::exchange::path::{self, Destination, RequestLine};
use weir::exchange::{answer, asked, infer, infer_reply};
use weir::guard::verdict::Action;
use weir::identity::key::KeyHash;
use weir::ledger::account::AccountKey;
use weir::upstream::retry;
use weir::upstream::target::BaseUrl;
use weir::wire::envelope;

const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "DELETE", "TRACE", "PATCH"];
const OURS: [&str; 6] = [
    "v1/chat/completions",
    "v1/completions",
    "v1/embeddings",
    "v1/responses",
    "v1/messages",
    "v1/messages/count_tokens",
];

/// What paths are made of; the first characters of an input stand for these.
const WORDS: [&str; 20] = [
    "/v1",
    "/chat",
    "/completions",
    "/messages",
    "/responses",
    "/anthropic",
    "/count_tokens",
    "/models/",
    "/files",
    "%2f",
    "%252F",
    "%2e",
    "..",
    ";",
    "%3b",
    "%5c",
    "//",
    "%",
    "25",
    "%3F",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (method, body) = input;
    let method = METHODS[usize::from(method) % METHODS.len()];
    let text = String::from_utf8_lossy(body);
    let mut path = String::new();
    for letter in text.chars() {
        match WORDS.get(letter as usize) {
            Some(word) => path.push_str(word),
            None => path.push(letter),
        }
    }
    for path in [path.clone(), format!("/{path}"), format!("/v1/chat/completions{path}")] {
        paths(method, &path);
    }
    headers(body);
    if let Ok(key) = KeyHash::from_configured(&text) {
        assert_eq!(KeyHash::from_configured(&key.to_string()), Ok(key));
    }
    if let Ok(usd) = NanoUsd::parse_usd(&text) {
        assert_eq!(NanoUsd::parse_usd(&usd.to_string()), Ok(usd));
        assert_eq!(NanoUsd::parse_usd_rounding_up(&text), Ok(usd));
    }
    if let Some(key) = AccountKey::parse(&text) {
        assert_eq!(key.as_str(), text);
    }
    addresses(&text);
    seed_call(body);
});

fn paths(method: &str, path: &str) {
    let line = RequestLine { method, path, web_socket: false, anthropic_version: false };
    let Ok(Destination::Provider(Surface::Other(_))) = path::classify(&line) else { return };
    let mut read = path::upstream_path(path).to_owned();
    for _ in 0..=PATH_DECODES_MAX {
        // A server reads it after so many of its kind have decoded it.
        assert!(!names(&read).iter().any(|name| name == ".."), "{path:?}");
        let before = read.split(['?', '#']).next().unwrap_or_default();
        assert!(!OURS.contains(&&*names(before).join("/")), "{path:?}");
        read = decoded(&read);
    }
}

fn names(path: &str) -> Vec<String> {
    let segments = path.split(['/', '\\']).map(|it| it.split(';').next().unwrap_or_default());
    let names = segments.map(|it| it.trim().to_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|two| *first == b'%' && two.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn headers(text: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let mut headers = HeaderMap::new();
    for name in ["retry-after", "content-type", "content-length", "authorization", "x-agent-id"] {
        headers.insert(name, value.clone());
    }
    let wait = |headers: &HeaderMap| retry::retry_after_ms(headers, 1_700_000_000_000);
    assert!(wait(&headers).is_none_or(|ms| ms <= COOLDOWN_MS_MAX));
    headers.insert("retry-after-ms", value);
    assert!(wait(&headers).is_none_or(|ms| ms <= COOLDOWN_MS_MAX));
    answer::kind_of(&headers);
    answer::is_none(&headers);
    asked::presented(&headers).expect("each is there once");
    static AGENT: HeaderName = HeaderName::from_static("x-agent-id");
    if let Ok(Some(name)) = asked::short_header(&headers, &AGENT) {
        assert!(!name.is_empty() && name.trim() == name);
    }
}

fn addresses(text: &str) {
    for exact in [false, true] {
        let Ok(base) = BaseUrl::parse(text, exact) else { continue };
        assert!(!base.host.is_empty() && !base.host.contains(['@', '/', '?', '#', '\\']));
        assert!(base.port > 0);
        let target = base.join("/v1/x?y=z");
        assert!(target.starts_with('/') && target.ends_with("?y=z"), "{target}");
        let again = BaseUrl::parse(base.url("").as_str(), true).expect("an address is one");
        assert_eq!((again.tls, again.host, again.port), (base.tls, base.host, base.port));
    }
}

/// A request to `/infer`, and an answer to it.
fn seed_call(body: &[u8]) {
    let rules = Infer {
        enabled: true,
        input_chars_max: 400,
        turns_max: 5,
        system_chars_max: 200,
        output_tokens_max: 100,
        seed_rules: true,
        screening: Action::Off,
        canary: true,
    };
    infer_reply::output(body);
    let Ok(mut ask) = infer::read(body, &rules) else { return };
    assert!((1..=rules.turns_max).contains(&ask.turns.len()));
    if infer::validate(&mut ask, &rules, &Guard).is_err() {
        return;
    }
    let chat = infer::chat_body(&ask, &ask.system, &rules);
    let envelope = envelope::scan(&chat).expect("a request");
    assert_eq!(envelope.model(&chat), Some(&*ask.model));
}
