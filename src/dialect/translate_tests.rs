//! Requests with very many calls, results and tools are translated with work that grows with their
//! size only: one that compared each with each would not end while anybody waits for these tests.

use std::fmt::Write as _;

use crate::base::surface::Surface;
use crate::dialect::canonical::style::{Style, Target};
use crate::dialect::translate::{Passage, Translated};

const MANY: usize = 20_000;

const TARGET: Target = Target {
    output_cap_field: "max_tokens",
    output_cap_default: 4096,
    keeps_cache_marks: false,
    ask_usage: false,
};

/// The body in both other dialects.
fn translated(client: Surface, body: &str) -> Vec<(Surface, Translated)> {
    let others = [Surface::Chat, Surface::Responses, Surface::Messages];
    let passages = others.map(|provider| (provider, Passage::between(client, provider)));
    let translate = |(provider, passage): (Surface, Option<Passage>)| {
        let translated = passage?.request(body.as_bytes(), &TARGET, false).expect("a request");
        Some((provider, translated))
    };
    passages.into_iter().filter_map(translate).collect()
}

/// How often each of the provider's dialects has a result in the translated body.
fn results(client: Surface, body: &str) -> Vec<usize> {
    let count = |(provider, translated): (Surface, Translated)| {
        let mark = match provider {
            Surface::Chat => "\"tool_call_id\":",
            Surface::Responses => "_call_output\"",
            _ => "\"tool_result\"",
        };
        String::from_utf8_lossy(&translated.body).matches(mark).count()
    };
    translated(client, body).into_iter().map(count).collect()
}

/// The same id, every other time with an escape in it.
fn id(at: usize, is_escaped: bool) -> String {
    if is_escaped && at.is_multiple_of(2) {
        format!("c\\u0061ll_{at}")
    } else {
        format!("call_{at}")
    }
}

/// One piece for each number, with commas between them.
fn list(
    numbers: impl Iterator<Item = usize>,
    piece: impl Fn(&mut String, usize) -> std::fmt::Result,
) -> String {
    let mut out = String::new();
    for at in numbers {
        if !out.is_empty() {
            out.push(',');
        }
        piece(&mut out, at).expect("a string takes all");
    }
    out
}

#[test]
fn many_results_of_a_chat_find_their_calls() {
    let calls = list(0..MANY, |out, at| {
        let id = id(at, at.is_multiple_of(3));
        write!(
            out,
            r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#
        )
    });
    let results_of_all = list(0..MANY, |out, at| {
        write!(out, r#"{{"role":"tool","tool_call_id":"{}","content":"r"}}"#, id(at, at % 3 > 0))
    });
    let body = format!(
        r#"{{"messages":[{{"role":"assistant","tool_calls":[{calls}]}},{results_of_all}]}}"#
    );
    assert_eq!(results(Surface::Chat, &body), [MANY, MANY]);
}

#[test]
fn many_old_functions_of_a_chat_find_their_calls() {
    let calls = list(0..MANY, |out, at| {
        let name = id(at, at.is_multiple_of(3));
        write!(
            out,
            r#"{{"role":"assistant","function_call":{{"name":"{name}","arguments":"{{}}"}}}}"#
        )
    });
    let results_of_all = list(0..MANY, |out, at| {
        write!(out, r#"{{"role":"function","name":"{}","content":"r"}}"#, id(at, at % 3 > 0))
    });
    let body = format!(r#"{{"messages":[{calls},{results_of_all}]}}"#);
    assert_eq!(results(Surface::Chat, &body), [MANY, MANY]);
}

#[test]
fn many_results_of_messages_find_their_calls() {
    let call = |out: &mut String, at| {
        let id = id(at, at.is_multiple_of(3));
        write!(out, r#"{{"type":"tool_use","id":"{id}","name":"f","input":{{}}}}"#)
    };
    let result = |out: &mut String, at| {
        let id = id(at, at % 3 > 0);
        write!(out, r#"{{"type":"tool_result","tool_use_id":"{id}","content":"r"}}"#)
    };
    // After all at once, one by one: a turn must not pay for those before it.
    let turns = list(0..MANY, |out, at| {
        out.push_str(r#"{"role":"assistant","content":["#);
        call(out, at)?;
        out.push_str(r#"]},{"role":"user","content":["#);
        result(out, at)?;
        out.push_str("]}");
        Ok(())
    });
    let (calls, results_of_all) = (list(0..MANY, call), list(0..MANY, result));
    let body = format!(
        r#"{{"max_tokens":9,"messages":[{{"role":"assistant","content":[{calls}]}},
        {{"role":"user","content":[{results_of_all}]}},{turns}]}}"#
    );
    assert_eq!(results(Surface::Messages, &body), [2 * MANY, 2 * MANY]);
}

#[test]
fn many_results_of_responses_find_their_calls() {
    let calls = list(0..MANY, |out, at| {
        let id = id(at, true);
        write!(out, r#"{{"type":"function_call","call_id":"{id}","name":"f","arguments":"{{}}"}}"#)
    });
    let results_of_all = list(0..MANY, |out, at| {
        let id = id(at, true);
        write!(out, r#"{{"type":"function_call_output","call_id":"{id}","output":"r"}}"#)
    });
    let body = format!(r#"{{"input":[{calls},{results_of_all}]}}"#);
    assert_eq!(results(Surface::Responses, &body), [MANY, MANY]);
}

#[test]
fn many_tools_are_named_and_chosen() {
    // The dots ask for an alias.
    let tools = list(0..MANY, |out, at| write!(out, r#"{{"type":"custom","name":"t.{at}"}}"#));
    let body = format!(
        r#"{{"input":"go","tools":[{tools}],
        "tool_choice":{{"type":"allowed_tools","mode":"auto","tools":[{tools}]}}}}"#
    );
    for (provider, translated) in translated(Surface::Responses, &body) {
        let body = String::from_utf8_lossy(&translated.body);
        let (mark, times) = match provider {
            Surface::Chat => ("{\"type\":\"custom\"", 2),
            _ => ("\"input_schema\"", 1),
        };
        assert_eq!(body.matches(mark).count(), times * MANY, "{provider:?}");
    }
    let tools =
        list(0..MANY, |out, at| write!(out, r#"{{"type":"custom","custom":{{"name":"t.{at}"}}}}"#));
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"go"}}],"tools":[{tools}],"tool_choice":
        {{"type":"allowed_tools","allowed_tools":{{"mode":"auto","tools":[{tools}]}}}}}}"#
    );
    let all = translated(Surface::Chat, &body);
    let (_, responses) = all.first().expect("a translation");
    let written = String::from_utf8_lossy(&responses.body);
    assert_eq!(written.matches("{\"type\":\"custom\"").count(), 2 * MANY);
}

#[test]
fn an_end_without_a_beginning_is_told_as_an_error() {
    let done = "data: [DONE]\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    for (provider, end) in [(Surface::Chat, done), (Surface::Messages, stop)] {
        for client in [Surface::Chat, Surface::Responses, Surface::Messages] {
            let Some(passage) = Passage::between(client, provider) else { continue };
            let (mut stream, mut out) = (passage.stream(Style::default()), Vec::new());
            stream.feed(end.as_bytes(), &mut out);
            stream.finish(&mut out);
            let out = String::from_utf8(out).expect("text");
            assert!(stream.is_over() && stream.has_failed(), "{client:?}: {out}");
            assert!(out.contains("\"error\""), "{client:?}: {out}");
            for success in ["message_delta", "message_stop", "response.completed", "[DONE]"] {
                assert!(!out.contains(success), "{client:?}: {out}");
            }
        }
    }
}

#[test]
fn what_is_left_out_is_listed_by_the_name_that_the_client_gave_it() {
    let chat = |more: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{more}}}"#);
    let responses = |more: &str| format!(r#"{{"input":"x",{more}}}"#);
    let tool = r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#;
    let document = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"},"context":"c"}"#;
    let call =
        r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]}"#;
    let result = format!(r#"{{"type":"tool_result","tool_use_id":"t","content":[{document}]}}"#);
    let of = |block: &str| {
        let user = format!(r#"{{"role":"user","content":[{block}]}}"#);
        format!(r#"{{"max_tokens":5,"messages":[{{"role":"user","content":"x"}},{call},{user}]}}"#)
    };
    let lazy = r#"{"max_tokens":5,"messages":[],"tools":[{"name":"f","defer_loading":true},{"name":"g","defer_loading":false}]}"#;
    for (client, provider, body, dropped) in [
        (
            Surface::Chat,
            Surface::Messages,
            chat(r#""web_search_options":{}"#),
            "web_search_options",
        ),
        (
            Surface::Chat,
            Surface::Responses,
            chat(r#""web_search_options":{}"#),
            "web_search_options",
        ),
        (
            Surface::Chat,
            Surface::Messages,
            chat(&format!(r#"{tool},"reasoning_effort":"low""#)),
            "reasoning_effort",
        ),
        (Surface::Chat, Surface::Messages, chat(r#""\u00e9":1"#), r"\u00e9"),
        (Surface::Chat, Surface::Responses, chat(r#""\u00e9":1"#), r"\u00e9"),
        (Surface::Responses, Surface::Messages, responses(r#""\u00e9":1"#), r"\u00e9"),
        (Surface::Responses, Surface::Chat, responses(r#""\u00e9":1"#), r"\u00e9"),
        (Surface::Messages, Surface::Chat, of(&result), "document.context"),
        (Surface::Messages, Surface::Responses, of(&result), "document.context"),
        (Surface::Messages, Surface::Chat, lazy.to_owned(), "tools.defer_loading"),
        (Surface::Messages, Surface::Responses, lazy.to_owned(), "tools.defer_loading"),
    ] {
        let passage = Passage::between(client, provider).expect("another dialect");
        let translated = passage.request(body.as_bytes(), &TARGET, false).expect(&body);
        assert_eq!(translated.dropped, [dropped], "{body}");
        // An agent that is to lose nothing is told so.
        let refused = passage.request(body.as_bytes(), &TARGET, true).expect_err(&body);
        assert_eq!(refused.field, dropped, "{body}");
    }
    for disguised in [chat(r#""mcp\u005fservers":[]"#), chat(r#""s\u0065ed":1"#)] {
        let passage = Passage::between(Surface::Chat, Surface::Messages).expect("another dialect");
        passage.request(disguised.as_bytes(), &TARGET, false).expect_err(&disguised);
    }
}

#[test]
fn a_text_in_base64_is_a_text_document() {
    let of = |media: &str, data: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"file","file":{{"filename":"a","file_data":"data:{media};base64,{data}"}}}}]}}]}}"#
        )
    };
    let passage = Passage::between(Surface::Chat, Surface::Messages).expect("another dialect");
    let written = |body: &str| passage.request(body.as_bytes(), &TARGET, false);
    for media in ["text/plain", "Text/Markdown; charset=utf-8"] {
        let said = written(&of(media, "Z3LDvMOfZSAiPSI=")).expect("a text");
        let body = String::from_utf8(said.body).expect("JSON");
        let wanted = r#""source":{"type":"text","media_type":"text/plain","data":"grüße \"=\""}"#;
        assert!(body.contains(wanted), "{body}");
    }
    for (media, data) in
        [("text/plain", "/w=="), ("text/plain", "???"), ("application/zip", "UEs=")]
    {
        written(&of(media, data)).expect_err(media);
    }
    // A name tells an `OpenAI` model what it is.
    let block =
        r#"{"type":"document","source":{"type":"base64","media_type":"text/plain","data":"YQ=="}}"#;
    let ask = format!(r#"{{"max_tokens":5,"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    for (_, said) in translated(Surface::Messages, &ask) {
        assert!(String::from_utf8(said.body).expect("JSON").contains("document.txt"), "{ask}");
    }
}
