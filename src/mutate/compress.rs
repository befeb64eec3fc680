//! One tool result, shorter: cleaned of what only a terminal needs, and filtered by what it is.
//!
//! A function of the text and the settings alone. What comes out is never longer, and says in its first line
//! what was done, so that a model can ask again for what it misses, and nothing is shortened twice. Whatever
//! the harness has written around the output stays; an output in a field of a JSON text is found there.

use std::borrow::Cow;

use crate::base::limit::COMPRESSED_TEXT_BYTES_MAX;
use crate::mutate::clean;
use crate::mutate::kind::{self, Kind};
use crate::mutate::wrapper;
use crate::wire::json;
use crate::wire::syntax::Span;

/// How the first line of what was shortened begins.
const MARK: &str = "[weir: ";
/// A text that does not become shorter by this share of it stays as it is, in percent.
const SAVED_MIN: usize = 5;
/// Fields of a JSON text that hold an output.
const FIELDS: [&str; 6] = ["output", "stdout", "stderr", "content", "result", "text"];

/// What is shortened, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Characters below which a text stays as it is.
    pub chars_min: usize,
    /// Whether the seed's limits hold, by which facts can be lost.
    pub lossy: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { chars_min: 500, lossy: false }
    }
}

/// A shorter text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// The text.
    pub text: String,
    /// What it is, if it was more than cleaned.
    pub kind: Option<Kind>,
}

/// The text, shorter; `None` if it stays as it is.
pub fn compress(text: &str, settings: &Settings) -> Option<Compressed> {
    if !is_long(text, settings) || text.len() > COMPRESSED_TEXT_BYTES_MAX {
        return None;
    }
    if text.trim_start().starts_with('{')
        && let Some(found) = fields(text, settings)
    {
        return found.kind.is_some().then_some(found);
    }
    let found = plain(text, settings)?;
    // What only a terminal needs may have hidden that it is a JSON text.
    let again = found.kind.is_none().then(|| compress(&found.text, settings)).flatten();
    Some(again.unwrap_or(found))
}

fn is_long(text: &str, settings: &Settings) -> bool {
    text.len() >= settings.chars_min && text.chars().count() >= settings.chars_min
}

fn plain(text: &str, settings: &Settings) -> Option<Compressed> {
    let cleaned = clean::clean(text);
    let around = wrapper::split(&cleaned);
    if around.body.starts_with(MARK) {
        return None;
    }
    let filtered = kind::of(around.body, settings.lossy).and_then(|kind| {
        let body = kind.shorten(around.body, settings.lossy);
        let note = kind.note(settings.lossy);
        let shorter = format!("{}{MARK}{note}]\n{body}{}", around.head, around.tail);
        is_worth(&shorter, &cleaned).then_some(Compressed { text: shorter, kind: Some(kind) })
    });
    filtered.or_else(|| match &cleaned {
        Cow::Owned(cleaned) if is_worth(cleaned, text) => {
            Some(Compressed { text: cleaned.clone(), kind: None })
        }
        _ => None,
    })
}

/// Whether enough is saved, of the text and of what it is in JSON.
fn is_worth(shorter: &str, text: &str) -> bool {
    shorter.len() * 100 <= text.len() * (100 - SAVED_MIN) && quoted_len(shorter) < quoted_len(text)
}

/// Bytes of a text in JSON, its quotes aside.
fn quoted_len(text: &str) -> usize {
    let extra = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(extra).sum::<usize>()
}

/// The outputs in the fields of a JSON text. `None` if it is none; without a kind if there is nothing to do.
fn fields(text: &str, settings: &Settings) -> Option<Compressed> {
    let body = text.as_bytes();
    json::check(body).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut kind = None;
    let mut at = 0;
    for member in json::members(body, Span::whole(body)) {
        let is_output = FIELDS.iter().any(|name| json::key_is(member.key.of(body), name));
        let Some(inner) = json::string(member.value.of(body)).filter(|_| is_output) else {
            continue;
        };
        let found = Some(inner).filter(|inner| is_long(inner, settings));
        let found = found.and_then(|inner| plain(&inner, settings));
        let Some(found) = found else { continue };
        let mut quoted = Vec::with_capacity(found.text.len());
        json::quote_into(&found.text, &mut quoted);
        let quoted = String::from_utf8(quoted).ok().filter(|it| it.len() < member.value.len())?;
        out.push_str(text.get(at..member.value.start)?);
        out.push_str(&quoted);
        at = member.value.end;
        kind = found.kind.or(kind).or(Some(Kind::Repeats));
    }
    out.push_str(text.get(at..)?);
    let is_less = is_worth(&out, text);
    Some(Compressed { text: out, kind: kind.filter(|_| is_less) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn greps(count: usize) -> String {
        (0..count)
            .map(|at| format!("src/exchange/mod.rs:{at}:    let value = {at};\n"))
            .collect::<Vec<_>>()
            .concat()
    }

    fn short(text: &str) -> Option<Compressed> {
        compress(text, &Settings::default())
    }

    #[test]
    fn short_texts_and_unknown_ones_stay() {
        assert!(short(&greps(5)).is_none());
        assert!(short(&"Some prose that goes on. ".repeat(100)).is_none());
        let long = greps(COMPRESSED_TEXT_BYTES_MAX / 40);
        assert!(long.len() > COMPRESSED_TEXT_BYTES_MAX && short(&long).is_none());
        // Characters count, not bytes.
        let text: String =
            (0..30).map(|at| format!("éééé/é.rs:{at}:\n")).collect::<Vec<_>>().concat();
        assert!(text.len() > 500 && short(&text).is_none());
        let settings = Settings { chars_min: 100, ..Settings::default() };
        assert!(compress(&text, &settings).is_some());
    }

    #[test]
    fn what_was_done_is_said_and_the_harness_stays() {
        let text = format!("$ grep -rn value\n{}[exit code: 0]\n", greps(20));
        let found = short(&text).unwrap();
        assert_eq!(found.kind, Some(Kind::Grep));
        assert!(found.text.starts_with(
            "$ grep -rn value\n[weir: grep, by file]\nsrc/exchange/mod.rs\n0:    let value = 0;\n1:"
        ));
        assert!(found.text.ends_with("19:    let value = 19;\n[exit code: 0]\n"));
        assert!(short(&found.text).is_none());
    }

    #[test]
    fn colours_go_also_where_nothing_else_is_known() {
        let text = "\u{1b}[31mSome prose\u{1b}[0m that goes on. ".repeat(40);
        let found = short(&text).unwrap();
        assert_eq!((found.kind, found.text), (None, "Some prose that goes on. ".repeat(40)));
    }

    #[test]
    fn outputs_in_fields_of_a_json_text_are_found() {
        let inner = json_string(&greps(20));
        let text = format!("{{\"output\": {inner}, \"metadata\": {{\"exit_code\": 1}}}}");
        let found = short(&text).unwrap();
        let tree: serde_json::Value = serde_json::from_str(&found.text).unwrap();
        assert!(tree["output"].as_str().unwrap().starts_with("[weir: grep, by file]\n"));
        assert_eq!(tree["metadata"]["exit_code"], 1);
        assert!(short(&found.text).is_none());
        assert!(short(&text.replace("output", "other")).is_none());
    }

    #[test]
    fn a_json_text_that_a_terminal_hides_is_one() {
        let (colours, inner) = ("\u{1b}[0m".repeat(60), json_string(&greps(20)));
        let plain = format!("{{\"output\": {inner}}}");
        let wanted = short(&plain).unwrap();
        let within = plain.replace("\"}", &format!("{colours}\"}}"));
        for text in [format!("{colours}{plain}"), within] {
            assert_eq!(short(&text), Some(wanted.clone()));
        }
        assert_eq!(short(&wanted.text), None);
    }

    fn json_string(text: &str) -> String {
        let mut out = Vec::new();
        json::quote_into(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Lines of all kinds of output, so that each filter meets the lines of the others.
    fn line() -> impl Strategy<Value = String> {
        let word = "[a-c]{1,3}";
        prop_oneof![
            (word, 0..40usize).prop_map(|(word, at)| format!("src/{word}.rs:{at}:let {word};")),
            (word, 0..40usize).prop_map(|(word, at)| format!("src/{word}.rs-{at}-{word}")),
            word.prop_map(|word| format!("-rw-r--r-- 1 root root 12 Nov 21 12:41 {word}")),
            word.prop_map(|word| format!("src/{word}/mod.rs")),
            word.prop_map(|word| format!("test {word} ... ok")),
            word.prop_map(|word| format!("test {word} ... FAILED")),
            word.prop_map(|word| format!("   Compiling {word} v1.0.0")),
            (word, 0..60usize).prop_map(|(word, at)| format!("12:00:{at:02} INFO {word} {at}")),
            (word, 0..4usize).prop_map(|(word, at)| format!("12:00:{at:02} ERROR {word} {at}")),
            word.prop_map(|word| format!("│   ├── {word}")),
            (1..9usize, 1..9usize).prop_map(|(at, of)| format!("@@ -{at},{of} +{at},{of} @@ x")),
            prop::sample::select(vec![
                "diff --git a/x b/x",
                "--- a/x",
                "+++ b/x",
                "+added",
                "-gone",
                " same",
                "",
                "On branch main",
                "Untracked files:",
                "\tnew file:   x",
                "$ ls -l",
                "total 8",
                "./src:",
                "[exit code: 1]",
                "running 3 tests",
                "{\"a\": 1}",
                "é漢\t\"x\"\\",
                "\u{1b}[1mbold\u{1b}[0m",
                "10%\r20%\r30%",
                "[weir: grep, by file]",
                "windows\r",
            ])
            .prop_map(String::from),
        ]
    }

    /// An output, most lines of one kind in a row.
    fn output() -> impl Strategy<Value = String> {
        let block = (line(), prop::collection::vec(line(), 0..6), 1..12usize);
        prop::collection::vec(block, 1..8).prop_map(|blocks| {
            let block = |(line, others, times): (String, Vec<String>, usize)| {
                format!("{}{}\n", format!("{line}\n").repeat(times), others.join("\n"))
            };
            blocks.into_iter().map(block).collect()
        })
    }

    proptest! {
        #[test]
        fn shorter_once_and_then_never_again(text in output(), lossy in any::<bool>()) {
            let settings = Settings { chars_min: 40, lossy };
            let Some(found) = compress(&text, &settings) else { return Ok(()) };
            prop_assert!(found.text.len() < text.len());
            prop_assert!(json_string(&found.text).len() < json_string(&text).len());
            prop_assert_eq!(compress(&found.text, &settings), None, "{}\n=>\n{}", text, found.text);
            prop_assert_eq!(compress(&text, &settings), Some(found));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}", lossy in any::<bool>()) {
            let settings = Settings { chars_min: 1, lossy };
            if let Some(found) = compress(&text, &settings) {
                prop_assert_eq!(compress(&found.text, &settings), None);
            }
        }
    }
}
