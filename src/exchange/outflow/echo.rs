//! The request, where a provider repeats it: Responses repeats its instructions in every answer, and servers put
//! what they refuse into their errors. What the gateway has written into the request is taken out again, and
//! errors are searched in every string, for nothing is known of their form.
//!
//! A canary in an echo is no leak: the provider has said it, not the model. What a model says is searched
//! elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use memchr::memmem;

use crate::base::surface::Surface;
use crate::exchange::canary;
use crate::exchange::outflow::cut::changed;
use crate::exchange::outflow::document;
use crate::exchange::outflow::tally::Tally;
use crate::exchange::outflow::walk::{Found, What};
use crate::exchange::outflow::{Passed, Terms};
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// What stands before the canary's line in a prompt that is one string.
const BREAK: &[u8] = br"\n\n";

/// What takes the canary's line out of the instructions that a response repeats, in an answer or an event.
pub fn instructions(terms: &Terms, surface: Surface, data: &[u8]) -> Vec<(Span, Vec<u8>)> {
    if surface != Surface::Responses || terms.token.is_none() {
        return Vec::new();
    }
    let whole = start(data);
    let response = json::find(data, whole, "response").unwrap_or(whole);
    let instructions = json::find(data, response, "instructions");
    instructions.map(|value| lines(terms, data, value)).unwrap_or_default()
}

fn start(data: &[u8]) -> Span {
    let white = data.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    Span::new(white, data.len())
}

/// What takes the canary's line out of that place.
fn lines(terms: &Terms, data: &[u8], within: Span) -> Vec<(Span, Vec<u8>)> {
    let Some(token) = &terms.token else { return Vec::new() };
    let line = canary::line(token);
    let text = within.of(data);
    let found = memmem::find_iter(text, line.as_bytes()).map(|at| {
        let from = at - if is_after_break(&text[..at]) { BREAK.len() } else { 0 };
        (Span::new(within.start + from, within.start + at + line.len()), Vec::new())
    });
    found.collect()
}

/// Whether text as it is written in JSON ends in that break. Behind half an escape it begins with a backslash that is
/// no escape of its own.
fn is_after_break(text: &[u8]) -> bool {
    let Some(before) = text.strip_suffix(BREAK) else { return false };
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
}

/// Searches the body of a failure, whatever it is made of. What is left of it, and why it must not be shown, if
/// it must not.
pub fn failure(terms: &Terms, body: &Bytes, tally: &mut Tally) -> Passed {
    let look = AssertUnwindSafe(|| look(terms, body, &mut *tally));
    match catch_unwind(look) {
        Ok(passed) => passed,
        Err(_) => match tally.failed(terms.guards.on_failure) {
            Some(stop) => Passed { bytes: Bytes::new(), stop: Some(stop) },
            None => Passed { bytes: body.clone(), stop: None },
        },
    }
}

fn look(terms: &Terms, body: &Bytes, tally: &mut Tally) -> Passed {
    let cut = lines(terms, body, Span::whole(body));
    let body = if cut.is_empty() { body.clone() } else { Bytes::from(changed(body, &cut)) };
    match json::check(&body) {
        Ok(value) if matches!(value.of(&body).first(), Some(b'{' | b'[' | b'"')) => {
            let mut found = Vec::new();
            strings(&body, value, &mut found);
            searched(terms, (&body, &found), tally)
        }
        // A number alone is searched as it is written, and what is left of one is a string: JSON stays JSON.
        Ok(_) => plain(terms, &body, true, tally),
        Err(_) => plain(terms, &body, false, tally),
    }
}

/// Searches those texts.
fn searched(terms: &Terms, (body, found): (&Bytes, &[Found]), tally: &mut Tally) -> Passed {
    let mut edits = Vec::new();
    for one in found {
        let text = document::text(terms, body, *one);
        tally.add(&text.findings, false);
        if let Some(stop) = tally.judge(terms.guards.canary, text.against) {
            return Passed { bytes: Bytes::new(), stop: Some(stop) };
        }
        edits.extend(text.replacement.map(|with| (text.span, with)));
    }
    let bytes = if edits.is_empty() { body.clone() } else { Bytes::from(changed(body, &edits)) };
    Passed { bytes, stop: None }
}

/// Searches a body as one text. What has been changed is quoted if that is asked for.
fn plain(terms: &Terms, body: &Bytes, is_quoted: bool, tally: &mut Tally) -> Passed {
    let mut quoted = Vec::new();
    json::quote_into(&String::from_utf8_lossy(body), &mut quoted);
    let (quoted, path) = (Bytes::from(quoted), 0);
    let span = Span::new(1, quoted.len() - 1);
    let passed = searched(
        terms,
        (&quoted, &[Found { span, path, what: What::Text, goes_on: false }]),
        tally,
    );
    if passed.stop.is_some() || passed.bytes == quoted {
        let bytes = if passed.stop.is_some() { Bytes::new() } else { body.clone() };
        return Passed { bytes, ..passed };
    }
    if is_quoted {
        return passed;
    }
    let inside = &passed.bytes[1..passed.bytes.len() - 1];
    let text = json::unescape(inside).unwrap_or_else(|| String::from_utf8_lossy(inside));
    Passed { bytes: Bytes::from(text.into_owned()), stop: None }
}

/// Every string of a value that has been checked, which bounds its depth.
fn strings(data: &[u8], value: Span, found: &mut Vec<Found>) {
    match value.of(data).first() {
        Some(b'"') if value.len() > 2 => {
            let span = Span::new(value.start + 1, value.end - 1);
            found.push(Found { span, path: 0, what: What::Text, goes_on: false });
        }
        Some(b'{') => {
            for member in json::members(data, value) {
                strings(data, member.value, found);
            }
        }
        Some(b'[') => {
            let mut pull = Pull::new(data, value);
            pull.enter();
            while pull.item() {
                let item = pull.skip();
                if item.is_empty() {
                    return;
                }
                strings(data, item, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::guards::{Canary, Guards};
    use crate::exchange::outflow::document::document;
    use crate::exchange::outflow::{Outflow, Stop};
    use crate::guard::canary::Token;
    use crate::guard::detect::policy::Policy;
    use crate::wire::sse::write_event;

    const KEY: &str = "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg";
    const MARK: &str = "[REDACTED_API_KEY_GROQ_1]";

    fn token() -> Token {
        Token::derive(b"secret of the test", ("a", "b"), 1).unwrap()
    }

    fn terms() -> Terms {
        let output = Some(Arc::new(Policy::default()));
        let guards = Guards { output, canary: Canary::Block, ..Guards::default() };
        Terms::of(&Arc::new(guards), Some(token())).unwrap()
    }

    fn failed(body: &str) -> (String, Option<Stop>, Tally) {
        let mut tally = Tally::default();
        let passed = failure(&terms(), &Bytes::copy_from_slice(body.as_bytes()), &mut tally);
        (String::from_utf8(passed.bytes.to_vec()).unwrap(), passed.stop, tally)
    }

    /// Instructions as providers repeat them, with and without the canary's line.
    fn echoes() -> [(Value, Value); 2] {
        let line = canary::line(&token());
        let item = |text: &str| json!([{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be"}, {"type": "input_text", "text": text}]}]);
        [
            (format!("be \"kind\"\\\n\n{line}").into(), "be \"kind\"\\".into()),
            (item(&line), item("")),
        ]
    }

    #[test]
    fn repeated_instructions_come_without_the_canary() {
        for (told, shown) in echoes() {
            let answer = |instructions: &Value| json!({"id": "r", "instructions": instructions, "output": [], "usage": null});
            let body = Bytes::from(answer(&told).to_string());
            let mut tally = Tally::default();
            let passed = document(&terms(), Surface::Responses, body, &mut tally);
            let read: Value = serde_json::from_slice(&passed.bytes).unwrap();
            assert_eq!((read, passed.stop, tally.canary_leaked()), (answer(&shown), None, false));
            let stream = |instructions: &Value| {
                let mut out = Vec::new();
                for name in ["response.created", "response.in_progress", "response.completed"] {
                    let event = json!({"type": name, "response": answer(instructions)});
                    write_event(&mut out, Some(name), event.to_string().as_bytes());
                }
                out
            };
            let mut flow = Outflow::new(terms(), Surface::Responses);
            let passed = flow.feed(Bytes::from(stream(&told)), true);
            assert_eq!((&passed.bytes[..], passed.stop), (&stream(&shown)[..], None));
            assert!(!flow.canary_leaked());
        }
    }

    #[test]
    fn a_failure_is_searched_in_every_string() {
        let body = json!({"detail": [{"loc": ["body", "messages"], "input": {"name": KEY,
            "data": [{"id": format!("it is {KEY}.")}]}}], "code": 4_111_111_111_111_111_u64});
        let (text, stop, tally) = failed(&body.to_string());
        let read: Value = serde_json::from_str(&text).unwrap();
        let input = &read["detail"][0]["input"];
        assert_eq!((&input["name"], stop), (&json!(MARK), None));
        assert!(input["data"][0]["id"].as_str().unwrap().contains("[REDACTED_"), "{text}");
        assert!(!text.contains("q7Zk") && tally.record().is_some());
        for clean in
            [r#" {"error": {"message":"no such model"}} "#, "", "{", "<p>\u{e9}\"\\n</p>\n"]
        {
            assert_eq!(failed(clean).0, clean);
        }
    }

    #[test]
    fn a_failure_that_is_no_json_is_searched_as_text() {
        let (text, stop, _) = failed(&format!("<p>no \"key\"\n{KEY} \\ é</p>"));
        assert_eq!((&*text, stop), (&*format!("<p>no \"key\"\n{MARK} \\ é</p>"), None));
    }

    #[test]
    fn what_is_left_of_a_number_alone_is_json() {
        for (body, shown) in [
            ("4111111111111111", r#""[REDACTED_CREDIT_CARD_1]""#),
            (" 4111111111111111\n", r#"" [REDACTED_CREDIT_CARD_1]\n""#),
            ("4111111111111112", "4111111111111112"),
            (" null", " null"),
        ] {
            assert_eq!(failed(body).0, shown);
        }
    }

    #[test]
    fn the_line_of_the_canary_takes_no_half_of_an_escape_away() {
        let line = canary::line(&token());
        for (before, left) in [(r"a\\n\n", r"a\\n\n"), (r"a\\\\\n\n", r"a\\\\"), (r"\n\n", "")] {
            let (text, stop, _) = failed(&format!(r#"{{"a":"{before}{line}"}}"#));
            assert_eq!((text, stop), (format!(r#"{{"a":"{left}"}}"#), None));
        }
    }

    #[test]
    fn a_request_in_a_failure_comes_without_the_canary_and_is_no_leak() {
        let prompt = format!("be kind\n\n{}", canary::line(&token()));
        let body = json!({"detail": [{"input": {"messages": [{"content": prompt}]}}]});
        let (text, stop, tally) = failed(&body.to_string());
        let input = json!({"messages": [{"content": "be kind"}]});
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"detail": [{"input": input}]})
        );
        assert_eq!((stop, tally.canary_leaked()), (None, false));
        let spaced: String = token().as_str().chars().flat_map(|it| [it, ' ']).collect();
        let (text, stop, _) = failed(&json!({"error": spaced}).to_string());
        assert_eq!((&*text, stop), ("", Some(Stop::Canary)));
    }
}
