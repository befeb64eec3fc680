//! The golden matrix of translation: every case of `tests/golden` in every other dialect, one expected file
//! each, whole answers and streams, and every stream cut at every byte.
//!
//! `tests/golden/<kind>/<dialect>/<case>.<ext>` is what comes in; `<case>.to-<dialect>.<ext>` beside it is what
//! must come out. With `WEIR_BLESS=1` the expected files are written anew: read the diff before keeping it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use weir::base::surface::Surface;
use weir::dialect::canonical::style::{Memory, Style, Target};
use weir::dialect::translate::Passage;

const DIALECTS: [(&str, Surface); 3] =
    [("chat", Surface::Chat), ("messages", Surface::Messages), ("responses", Surface::Responses)];

const TARGET: Target = Target {
    output_cap_field: "max_tokens",
    output_cap_default: 4096,
    keeps_cache_marks: false,
    ask_usage: true,
};

fn style() -> Style {
    Style {
        request_id: "0011".to_owned(),
        created: 1_790_000_001,
        model: "shown-model".to_owned(),
        stream_usage: true,
        memory: Arc::new(Memory::default()),
    }
}

/// What comes in, in the order of its file names.
fn cases(kind: &str, dialect: &str) -> Vec<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind).join(dialect);
    let found = fs::read_dir(&folder).expect("a folder of cases");
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| !path.to_string_lossy().contains(".to-"));
    paths.sort();
    assert!(!paths.is_empty(), "{}: no cases", folder.display());
    paths
}

/// Compares with the expected file, or writes it.
fn expect(case: &Path, to: &str, got: &str) -> Result<(), String> {
    let name = case.file_stem().expect("a name").to_string_lossy();
    let ext = case.extension().expect("an extension").to_string_lossy();
    let path = case.with_file_name(format!("{name}.to-{to}.{ext}"));
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(&path, got).expect("an expected file");
        return Ok(());
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    if wanted == got {
        return Ok(());
    }
    Err(format!("{}:\n--- wanted\n{wanted}\n--- got\n{got}\n", path.display()))
}

/// Runs every case of a kind from every dialect to every other one.
fn matrix(kind: &str, run: impl Fn(&Path, Surface, Surface) -> String) {
    let mut wrong = String::new();
    for (from_name, from) in DIALECTS {
        for case in cases(kind, from_name) {
            for (to_name, to) in DIALECTS.into_iter().filter(|(name, _)| *name != from_name) {
                let got = run(&case, from, to);
                if let Err(difference) = expect(&case, to_name, &got) {
                    wrong.push_str(&difference);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// JSON for people, with everything that the bytes say: no key may stand there twice.
fn pretty(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    let compact = value.to_string();
    // Members change their order, and escapes their form, but nothing may get lost on the way.
    assert_eq!(count_keys(&value), keys_as_written(bytes), "a key twice: {compact}");
    serde_json::to_string_pretty(&value).expect("JSON") + "\n"
}

fn count_keys(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count_keys).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_keys).sum(),
        _ => 0,
    }
}

/// Colons outside of strings.
fn keys_as_written(bytes: &[u8]) -> usize {
    let (mut keys, mut quoted, mut escaped) = (0, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b':' if !quoted => keys += 1,
            _ => {}
        }
    }
    keys
}

#[test]
fn requests() {
    matrix("request", |case, client, provider| {
        let body = fs::read(case).expect("a case");
        let passage = Passage::between(client, provider).expect("a passage");
        match passage.request(&body, &TARGET, false) {
            Err(refused) => format!("400 {}: {}\n", refused.field, refused.why),
            Ok(translated) => {
                let mut out = pretty(&translated.body);
                if !translated.dropped.is_empty() {
                    let _ = writeln!(out, "dropped: {}", translated.dropped.join(", "));
                }
                if let Some(version) = translated.version {
                    let _ = writeln!(out, "version: {version}");
                }
                out
            }
        }
    });
}

#[test]
fn strict_refuses_what_lenient_drops() {
    let (mut kept, mut refused) = (0, 0);
    for (name, client) in DIALECTS {
        for case in cases("request", name) {
            let body = fs::read(&case).expect("a case");
            for (_, provider) in DIALECTS.into_iter().filter(|(other, _)| *other != name) {
                let passage = Passage::between(client, provider).expect("a passage");
                let Ok(lenient) = passage.request(&body, &TARGET, false) else { continue };
                let strict = passage.request(&body, &TARGET, true);
                let shown = case.display();
                match lenient.dropped.first() {
                    None => {
                        assert!(strict.is_ok(), "{shown}");
                        kept += 1;
                    }
                    Some(first) => {
                        assert_eq!(strict.expect_err("strict").field, *first, "{shown}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(kept > 20 && refused > 20, "{kept} lose nothing, {refused} lose something");
}

#[test]
fn answers() {
    matrix("answer", |case, provider, client| {
        let body = fs::read(case).expect("a case");
        let passage = Passage::between(client, provider).expect("a passage");
        pretty(&passage.answer(&body, &style()).expect("an answer"))
    });
}

#[test]
fn failures() {
    matrix("failure", |case, provider, client| {
        let body = fs::read(case).expect("a case");
        let name = case.file_stem().expect("a name").to_string_lossy().into_owned();
        let status = name[..3].parse().expect("a status in front of the name");
        let passage = Passage::between(client, provider).expect("a passage");
        let (status, body) = passage.failure(status, &body);
        format!("{status}\n{}", pretty(&body))
    });
}

/// The stream in the client's dialect when the provider's comes in those pieces.
fn translated<'a>(passage: Passage, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let mut stream = passage.stream(style());
    let mut out = Vec::new();
    for piece in pieces {
        stream.feed(piece, &mut out);
    }
    stream.finish(&mut out);
    (out, stream.is_over())
}

#[test]
fn streams() {
    matrix("stream", |case, provider, client| {
        let body = fs::read(case).expect("a case");
        let passage = Passage::between(client, provider).expect("a passage");
        let (whole, is_over) = translated(passage, std::iter::once(&body[..]));
        let (bytewise, _) = translated(passage, body.chunks(1));
        assert_eq!(whole, bytewise, "{}", case.display());
        for at in 0..body.len() {
            let (left, right) = body.split_at(at);
            let (cut, _) = translated(passage, [left, right].into_iter());
            assert_eq!(whole, cut, "{} cut at {at}", case.display());
        }
        let mut text = String::from_utf8(whole).expect("UTF-8");
        if !is_over {
            text.push_str(": not over\n");
        }
        text
    });
}

/// However early a provider stops, the client is told no more than what came, and never an end.
#[test]
fn streams_that_stop_early_have_no_end() {
    for (name, provider) in DIALECTS {
        for case in cases("stream", name) {
            let body = fs::read_to_string(&case).expect("a case");
            let ends: Vec<usize> = body.match_indices("\n\n").map(|(at, _)| at + 2).collect();
            for (_, client) in DIALECTS.into_iter().filter(|(other, _)| *other != name) {
                let passage = Passage::between(client, provider).expect("a passage");
                let (whole, is_over) = translated(passage, std::iter::once(body.as_bytes()));
                let mut ended: BTreeMap<usize, bool> = BTreeMap::new();
                for &end in &ends {
                    let mut stream = passage.stream(style());
                    let mut out = Vec::new();
                    stream.feed(&body.as_bytes()[..end], &mut out);
                    assert!(whole.starts_with(&out), "{} up to {end}", case.display());
                    stream.finish(&mut out);
                    ended.insert(end, stream.is_over());
                }
                // Once it is over it stays so, and the first event alone is never all.
                let flags: Vec<bool> = ended.into_values().collect();
                assert!(flags.is_sorted(), "{}", case.display());
                assert_eq!(flags.last(), Some(&is_over), "{}", case.display());
                assert!(!flags[0], "{}", case.display());
            }
        }
    }
}

/// An answer of Responses repeats what was asked, to the letter, whole and in the events of a stream.
#[test]
fn responses_repeat_their_request() {
    const REPEATED: [&str; 12] = [
        "instructions",
        "max_output_tokens",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "truncation",
        "user",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let asked = fs::read(root.join("request/responses/repeated.json")).expect("a case");
    let request: Value = serde_json::from_slice(&asked).expect("JSON");
    for (name, provider) in [("chat", Surface::Chat), ("messages", Surface::Messages)] {
        let passage = Passage::between(Surface::Responses, provider).expect("a passage");
        let memory = passage.request(&asked, &TARGET, false).expect("a request").memory;
        let style = Style { memory: Arc::new(memory), ..style() };
        let answer = fs::read(root.join(format!("answer/{name}/text.json"))).expect("an answer");
        let whole = passage.answer(&answer, &style).expect("an answer");
        let events = fs::read(root.join(format!("stream/{name}/text.sse"))).expect("a stream");
        let (mut stream, mut told) = (passage.stream(style), Vec::new());
        stream.feed(&events, &mut told);
        let told = String::from_utf8(told).expect("UTF-8");
        let data = told.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
        let mut answers: Vec<Value> = events
            .filter_map(|event| event.get("response").cloned())
            .chain([serde_json::from_slice(&whole).expect("JSON")])
            .collect();
        assert_eq!(answers.len(), 4, "created, in_progress, completed, and the whole answer");
        for answer in &mut answers {
            for field in REPEATED {
                assert!(!request[field].is_null(), "{field}");
                assert_eq!(answer[field], request[field], "{name}: {field}");
            }
            let text = answer["text"].as_object_mut().expect("a form");
            assert_eq!(text.remove("format"), Some(serde_json::json!({"type": "text"})));
            assert_eq!(answer["text"], request["text"]);
            assert_eq!(answer["store"], false, "nothing is stored");
        }
    }
}
