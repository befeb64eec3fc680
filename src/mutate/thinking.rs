//! A model told to think (S2-10), for one attempt: by its provider's own parameter, or by `/think` before the
//! last words of the user. What the client has said itself goes first.
//!
//! `/think` moves on with the conversation, as in optmod: from the last words of the user on, the provider's
//! cache is lost once with each new turn of theirs, though not within the tool calls between. Providers'
//! parameters do not have that price in most dialects, which is why they are the default. On Messages they do:
//! requests whose cache markers say that a cache is wanted are told to think by neither way.

use bytes::Bytes;

use crate::mutate::covered;
use crate::wire::json;
use crate::wire::splice::Edit;
use crate::wire::syntax::Span;
use crate::wire::texts::{Piece, Source, Texts};

/// The mutator's name in records and metrics.
pub const NAME: &str = "thinking";

/// Bytes by which the text of a request grows at most.
pub const TEXT_BYTES_MAX: u64 = 7;

/// What is put before the words of the user.
const PROMPT: &[u8] = b"/think ";
/// Words of clients that go first.
const THEIRS: [&[u8]; 4] = [b"/think", b"/no_think", b"/nothink", b"/no-think"];
/// Keys whose strings are words of the user.
const KEYS: [&[u8]; 4] = [b"content", b"text", b"input", b"prompt"];
/// Chat and Responses: what models refuse while they think. `include` can ask for what `logprobs` does.
const WITHOUT_EFFORT: [&str; 6] =
    ["temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty"];
/// Fewest tokens to think with: by the documents of Messages, and no less anywhere else.
const BUDGET_MIN: u64 = 1_024;
/// Messages: most that we ask for.
const BUDGET_MAX: u64 = 16_000;

/// How the model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `/think`.
    Prompt,
    /// Chat: `reasoning_effort`.
    Chat {
        /// The cap of the answer, thoughts included, in tokens, where there is one.
        output_cap: Option<u64>,
    },
    /// Responses: `reasoning.effort`.
    Responses {
        /// The cap of the answer, thoughts included, in tokens, where there is one.
        output_cap: Option<u64>,
    },
    /// Messages: `thinking` with a budget; the cap of the answer must be above it.
    Budget {
        /// The cap of the answer, in tokens, where there is one.
        output_cap: Option<u64>,
    },
    /// Messages: `thinking`, of which the model says itself how much.
    Adaptive,
}

/// What is to be changed of `body`, an object whose brace is at `open`; nothing if the client has said itself
/// whether to think, or if the provider would refuse it.
pub fn edits(body: &[u8], open: usize, way: Way, texts: impl FnOnce() -> Texts) -> Vec<Edit> {
    let edit = match way {
        Way::Prompt if covered::has_cache_markers(body) => None,
        Way::Prompt => prompt(body, &texts()),
        Way::Chat { output_cap } | Way::Responses { output_cap }
            if is_too_short(output_cap) || !may_have_effort(body) =>
        {
            None
        }
        Way::Chat { .. } if has(body, &["reasoning_effort", "reasoning", "thinking"]) => None,
        Way::Chat { .. } => Some(Edit::insert(open, "reasoning_effort", b"\"high\"")),
        Way::Responses { .. } => effort(body, open),
        Way::Budget { output_cap } => {
            let value = |tokens| format!("{{\"type\":\"enabled\",\"budget_tokens\":{tokens}}}");
            let value = budget(output_cap).filter(|_| may_think(body, texts)).map(value);
            value.map(|value| Edit::insert(open, "thinking", value.as_bytes()))
        }
        Way::Adaptive => may_think(body, texts)
            .then(|| Edit::insert(open, "thinking", b"{\"type\":\"adaptive\"}")),
    };
    edit.into_iter().collect()
}

/// Whether an answer of that length could be used up by thoughts.
fn is_too_short(output_cap: Option<u64>) -> bool {
    output_cap.is_some_and(|cap| cap < 2 * BUDGET_MIN)
}

/// Whether a model takes an effort beside what else is set. `null` and `false` set nothing.
fn may_have_effort(body: &[u8]) -> bool {
    json::members(body, Span::whole(body)).all(|member| {
        let (key, value) = (member.key.of(body), member.value.of(body));
        let is_set = !matches!(value.first(), Some(b'n' | b'f'));
        let is_refused = WITHOUT_EFFORT.iter().any(|name| json::key_is(key, name));
        let asks_logprobs =
            || json::key_is(key, "include") && memchr::memmem::find(value, b"logprobs").is_some();
        !(is_set && is_refused || asks_logprobs())
    })
}

fn has(body: &[u8], names: &[&str]) -> bool {
    let members = &mut json::members(body, Span::whole(body));
    members.any(|member| names.iter().any(|name| json::key_is(member.key.of(body), name)))
}

fn prompt(body: &[u8], texts: &Texts) -> Option<Edit> {
    let is_theirs = |piece: &&Piece| {
        piece.source == Source::User && KEYS.contains(&piece.key.of(body)) && is_string(piece, body)
    };
    let last = texts.pieces.iter().rev().find(is_theirs)?;
    let said = last.span.of(body);
    if THEIRS.iter().any(|word| said.starts_with(word)) {
        return None;
    }
    let start = Span::new(last.span.start, last.span.start);
    Some(Edit::replace(start, Bytes::from_static(PROMPT)))
}

/// Whether a piece lies between quotes. What lies too deep to be told apart does not.
fn is_string(piece: &Piece, body: &[u8]) -> bool {
    piece.span.start > 0
        && body.get(piece.span.start - 1) == Some(&b'"')
        && body.get(piece.span.end) == Some(&b'"')
}

fn effort(body: &[u8], open: usize) -> Option<Edit> {
    let Some(given) = json::find(body, Span::whole(body), "reasoning") else {
        return Some(Edit::insert(open, "reasoning", b"{\"effort\":\"high\"}"));
    };
    match given.of(body).first() {
        Some(b'{') if json::find(body, given, "effort").is_none() => {
            Some(Edit::insert(given.start, "effort", b"\"high\""))
        }
        Some(b'n') => Some(Edit::replace(given, Bytes::from_static(b"{\"effort\":\"high\"}"))),
        _ => None,
    }
}

/// Half of the answer at most.
fn budget(output_cap: Option<u64>) -> Option<u64> {
    let tokens = (output_cap? / 2).min(BUDGET_MAX);
    (tokens >= BUDGET_MIN).then_some(tokens)
}

/// Whether Messages lets this request think: not with these fields, of which some say it already; and whether
/// it costs no cache that the client has marked.
fn may_think(body: &[u8], texts: impl FnOnce() -> Texts) -> bool {
    !has(body, &["thinking", "output_config", "temperature", "top_k", "top_p", "tool_choice"])
        && !covered::has_cache_markers(body)
        && !goes_on(&texts())
}

/// Whether the last turn goes on with what was begun without thinking: it brings results of tools (the thoughts
/// before the call would be missing), or the beginning of the answer, which Messages refuses with thinking.
fn goes_on(texts: &Texts) -> bool {
    // The system prompt has no turn, and may stand behind the messages.
    let turns = || texts.pieces.iter().rev().filter(|piece| piece.turn.is_some());
    let last = turns().next().and_then(|piece| piece.turn);
    turns()
        .take_while(|piece| piece.turn == last)
        .any(|piece| matches!(piece.source, Source::Tool | Source::Assistant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope;
    use crate::wire::splice;
    use crate::wire::texts;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const CHAT: Way = Way::Chat { output_cap: None };
    const RESPONSES: Way = Way::Responses { output_cap: None };
    const BUDGET: Way = Way::Budget { output_cap: Some(9_000) };

    fn told(body: &Value, way: Way) -> Value {
        let body = Bytes::from(body.to_string());
        let open = envelope::scan(&body).unwrap().open_brace();
        let edits = edits(&body, open, way, || texts::texts(&body));
        let out = splice::splice(&body, edits).unwrap().contiguous();
        assert!(out.len() < body.len() + 80);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_last_words_of_the_user_are_led_by_think() {
        let chat = json!({"model": "m", "messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
            {"role": "user", "name": "n", "content": [{"type": "text", "text": "c"},
                {"type": "image_url", "image_url": {"url": "data:x"}}]},
            {"role": "tool", "tool_call_id": "t", "content": "d"}]});
        let out = told(&chat, Way::Prompt);
        assert_eq!(out["messages"][2]["content"][0]["text"], "/think c");
        assert_eq!(out["messages"][0]["content"], "a");
        assert_eq!(told(&out, Way::Prompt), out);
        assert_eq!(told(&json!({"input": "x"}), Way::Prompt), json!({"input": "/think x"}));
        for said in ["/no_think a", "/think"] {
            let body = json!({"messages": [{"role": "user", "content": said}]});
            assert_eq!(told(&body, Way::Prompt), body);
        }
        let nothing = json!({"messages": [{"role": "system", "content": "s"}]});
        assert_eq!(told(&nothing, Way::Prompt), nothing);
        assert_eq!(u64::try_from(PROMPT.len()).unwrap(), TEXT_BYTES_MAX);
    }

    #[test]
    fn the_providers_own_parameter_is_set_unless_the_client_has() {
        assert_eq!(told(&json!({"a": 1}), CHAT), json!({"a": 1, "reasoning_effort": "high"}));
        for given in [json!({"reasoning_effort": "low"}), json!({"reasoning": {"max_tokens": 9}})] {
            assert_eq!(told(&given, CHAT), given);
        }
        let high = json!({"reasoning": {"effort": "high"}});
        assert_eq!(told(&json!({}), RESPONSES), high);
        assert_eq!(told(&json!({"reasoning": null}), RESPONSES), high);
        assert_eq!(
            told(&json!({"reasoning": {"summary": "auto"}}), RESPONSES),
            json!({"reasoning": {"effort": "high", "summary": "auto"}})
        );
        let low = json!({"reasoning": {"effort": "low"}});
        assert_eq!(told(&low, RESPONSES), low);
    }

    #[test]
    fn no_effort_where_models_refuse_it_or_the_answer_would_not_fit() {
        for given in [
            json!({"temperature": 0.2}),
            json!({"top_p": 1}),
            json!({"logprobs": true}),
            json!({"top_logprobs": 2}),
            json!({"presence_penalty": 0.1}),
            json!({"frequency_penalty": 0.1}),
            json!({"include": ["message.output_text.logprobs"]}),
        ] {
            assert_eq!(told(&given, CHAT), given);
            assert_eq!(told(&given, RESPONSES), given);
        }
        let unset = json!({"temperature": null, "logprobs": false, "include": ["x"]});
        assert_ne!(told(&unset, CHAT), unset);
        assert_ne!(told(&unset, RESPONSES), unset);
        for (output_cap, is_told) in [(1, false), (2_047, false), (2_048, true)] {
            let output_cap = Some(output_cap);
            assert_eq!(told(&json!({}), Way::Chat { output_cap }) != json!({}), is_told);
            assert_eq!(told(&json!({}), Way::Responses { output_cap }) != json!({}), is_told);
        }
    }

    #[test]
    fn an_answer_that_was_begun_does_not_think() {
        let user = json!({"role": "user", "content": "a"});
        for begun in [json!("{"), json!([{"type": "text", "text": "{"}])] {
            let begun = json!({"role": "assistant", "content": begun});
            let given = json!({"messages": [user, begun]});
            assert_eq!(told(&given, BUDGET), given);
            assert_eq!(told(&given, Way::Adaptive), given);
            let more = json!({"messages": [user, begun, user]});
            assert_ne!(told(&more, BUDGET), more);
        }
        // The system prompt behind the messages.
        for last in
            ["{\"role\":\"assistant\",\"content\":\"b\"}", "{\"role\":\"tool\",\"content\":\"b\"}"]
        {
            let body = format!("{{\"messages\":[{user},{last}],\"system\":\"s\"}}");
            let edits = edits(body.as_bytes(), 0, BUDGET, || texts::texts(body.as_bytes()));
            assert!(edits.is_empty(), "{last}");
        }
    }

    #[test]
    fn a_cache_that_the_client_marks_is_not_lost() {
        let marked = json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}]});
        for way in [Way::Prompt, BUDGET, Way::Adaptive] {
            assert_eq!(told(&marked, way), marked, "{way:?}");
        }
        assert_ne!(told(&marked, CHAT), marked);
    }

    #[test]
    fn the_budget_of_messages_leaves_room_for_the_answer() {
        let of = |output_cap| {
            told(&json!({"max_tokens": 1}), Way::Budget { output_cap })["thinking"].clone()
        };
        assert_eq!(of(Some(4_096)), json!({"type": "enabled", "budget_tokens": 2_048}));
        assert_eq!(of(Some(900_000))["budget_tokens"], 16_000);
        assert_eq!(of(Some(2_047)), Value::Null);
        assert_eq!(of(None), Value::Null);
        assert_eq!(told(&json!({}), Way::Adaptive), json!({"thinking": {"type": "adaptive"}}));
        for given in [
            json!({"thinking": {"type": "disabled"}}),
            json!({"temperature": 0.2}),
            json!({"tool_choice": {"type": "any"}}),
            json!({"messages": [{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "x"}]}]}),
        ] {
            assert_eq!(told(&given, Way::Adaptive), given);
            assert_eq!(told(&given, BUDGET), given);
        }
    }

    proptest! {
        #[test]
        fn only_what_it_sets_changes(words in prop::collection::vec("[ a-z/\"\\\\é]{0,12}", 0..5), way in 0..5usize) {
            let messages: Vec<Value> =
                words.iter().map(|text| json!({"role": "user", "content": text})).collect();
            let body = json!({"model": "m", "messages": messages});
            let way = [
                Way::Prompt, CHAT, RESPONSES, Way::Adaptive,
                Way::Budget { output_cap: Some(5_000) },
            ][way];
            let mut out = told(&body, way);
            let last = words.iter().rposition(|text| !text.is_empty());
            let last = last.filter(|_| way == Way::Prompt);
            if let Some(at) = last {
                let text = out["messages"][at]["content"].as_str().unwrap();
                let text = text.strip_prefix("/think ").unwrap_or(text).to_owned();
                out["messages"][at]["content"] = text.into();
            }
            let fields = out.as_object_mut().unwrap();
            for key in ["reasoning_effort", "reasoning", "thinking"] {
                fields.remove(key);
            }
            prop_assert!(out == body || words.iter().any(|it| it.starts_with("/think ")));
        }
    }
}
