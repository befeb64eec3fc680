//! The next candidate when there is no status to go by: no connection, no answer, no HTTP, errors inside a
//! 200; and what ends the loop.

use std::fmt::Write;

use loadtest::upstream::server::Upstream;

use crate::client::{Ask, Line};
use crate::gateway::{Gateway, SOON, Setup, free_port};
use crate::provider::{Canned, anthropic, mock, openai, scripted};

/// A gateway whose first provider fails as named, and whose second one is sound.
struct Stage {
    gateway: Gateway,
    first: Upstream,
    second: Upstream,
    _broken: Vec<Canned>,
}

/// Models of the first provider: what clients call them, and what they make it do.
const FAULTS: [(&str, &str); 7] = [
    ("silent", "mock-latency=60000"),
    ("nothttp", "mock-nothttp"),
    ("inside", "mock-inside-429"),
    ("first-event", "mock-error=0"),
    ("cut-at-0", "mock-cut=0"),
    ("reset-at-0", "mock-reset=0"),
    ("half", "mock-cut=1"),
];

async fn start() -> Stage {
    let (first, second) = (mock("first").await, mock("second").await);
    let closes = Canned::start("").await;
    let half_head = Canned::start("HTTP/1.1 200 OK\r\ncontent-ty").await;
    let broken =
        [("refused", free_port()), ("closes", closes.address), ("half-head", half_head.address)];
    let quick = ", first_byte_timeout_ms: 400";
    let mut providers = openai("first", first.addr, quick) + &openai("second", second.addr, "");
    providers += &anthropic("first-claude", first.addr, quick);
    providers += &anthropic("second-claude", second.addr, "");
    let mut models =
        "  - {id: good, provider: second}\n  - {id: m-good, provider: second-claude}\n".to_owned();
    let mut chains = String::new();
    let mut add = |name: &str, rest: &str| {
        for (prefix, suffix, good) in [("", "", "good"), ("m-", "-claude", "m-good")] {
            let rest =
                rest.replace("PROVIDER", &format!("first{suffix}")).replace("SUFFIX", suffix);
            writeln!(
                models,
                "  - {{id: {prefix}{name}, {rest}}}\n  - {{id: {prefix}{name}-alone, {rest}}}"
            )
            .unwrap();
            writeln!(chains, "    {prefix}{name}: [{good}]").unwrap();
        }
    };
    for (name, upstream_id) in FAULTS {
        add(name, &format!("provider: PROVIDER, upstream_id: '{upstream_id}'"));
    }
    for (name, address) in broken {
        providers += &openai(name, address, "");
        providers += &anthropic(&format!("{name}-claude"), address, "");
        add(name, &format!("provider: {name}SUFFIX"));
    }
    let yaml = format!(
        "providers:\n{providers}models:\n{models}routing:\n  cooldown_ms: 0\n  fallbacks:\n{chains}"
    );
    let gateway = Setup::new(yaml).start().await;
    Stage { gateway, first, second, _broken: vec![closes, half_head] }
}

/// Fault, its name in the record, the code when nobody else is there, and the status that the notice tells.
const SILENT: [(&str, &str, &str, u16); 5] = [
    ("refused", "connect_failed", "upstream_unreachable", 502),
    ("silent", "timed_out", "upstream_timeout", 504),
    ("nothttp", "broken", "upstream_invalid", 502),
    ("closes", "broken", "upstream_invalid", 502),
    ("half-head", "broken", "upstream_invalid", 502),
];

#[tokio::test]
async fn a_provider_that_cannot_answer_is_followed_by_the_next() {
    let stage = start().await;
    for (fault, outcome, _, trigger) in SILENT {
        for stream in [false, true] {
            let prefixed = format!("m-{fault}");
            for ask in [Ask::chat(fault, stream), Ask::messages(&prefixed, stream)] {
                let answer = stage.gateway.ask(ask).await;
                assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
                assert_eq!(answer.header("x-gateway-attempt-count"), "2", "{fault}");
                assert!(answer.header("x-gateway-provider").starts_with("second"), "{fault}");
                let told = format!("\"triggerStatus\":{trigger}");
                assert!(answer.text().contains(&told), "{fault}: {}", answer.text());
                let line = stage.gateway.line_of(&answer).await;
                assert_eq!(line["attempts"][0]["outcome"], outcome, "{fault}: {line}");
                assert_eq!(line["attempts"][1]["outcome"], "answered", "{fault}: {line}");
            }
        }
    }
    let seen = stage.second.requests();
    assert_eq!(seen.len(), SILENT.len() * 4);
    assert!(seen.iter().all(|seen| seen.body_bytes > 0 && seen.status == 200));
}

#[tokio::test]
async fn with_nobody_left_the_refusal_is_in_the_clients_dialect() {
    let stage = start().await;
    for (fault, _, code, status) in SILENT {
        let answer = stage.gateway.ask(Ask::chat(&format!("{fault}-alone"), false)).await;
        assert_eq!((answer.status, answer.openai_code().as_str()), (status, code), "{fault}");
        let said = answer.json();
        assert_eq!(said["detail"], said["error"]["message"], "the seed's key (S4-12): {said}");
        assert_eq!(answer.header("x-gateway-attempt-count"), "1", "{fault}");
        assert!(answer.has("x-gateway-request-id"));
        let answer = stage.gateway.ask(Ask::messages(&format!("m-{fault}-alone"), true)).await;
        let kind = if status == 504 { "timeout_error" } else { "api_error" };
        assert_eq!((answer.status, answer.anthropic_type().as_str()), (status, kind), "{fault}");
        assert_eq!(answer.json()["error"]["details"]["error_code"], code, "{fault}");
    }
}

#[tokio::test]
async fn an_error_inside_a_200_calls_for_the_next() {
    let stage = start().await;
    for (model, stream) in [("inside", false), ("first-event", true)] {
        let prefixed = format!("m-{model}");
        let asks = [
            Ask::chat(model, stream),
            Ask::responses(model, stream),
            Ask::messages(&prefixed, stream),
        ];
        for (at, ask) in asks.into_iter().enumerate() {
            let answer = stage.gateway.ask(ask).await;
            assert_eq!(answer.status, 200);
            let text = answer.text();
            // Anthropic's errors carry a name and no number: S4-04 speaks of numbers.
            let named_only = at == 2 && !stream;
            if named_only {
                assert!(
                    text.contains("rate_limit_error") || answer.header("x-gateway-switched") == "1"
                );
                continue;
            }
            assert_eq!(answer.header("x-gateway-attempt-count"), "2", "{model} {at}: {text}");
            assert!(!text.contains("mock: "), "{model} {at}: {text}");
            let line = stage.gateway.line_of(&answer).await;
            assert_eq!(line["attempts"][0]["outcome"], "error_inside", "{line}");
        }
    }
}

#[tokio::test]
async fn an_error_inside_the_last_200_comes_back() {
    let stage = start().await;
    let answer = stage.gateway.ask(Ask::chat("inside-alone", false)).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &429.into()));
    assert_eq!(stage.gateway.line_of(&answer).await["cost_usd"], "0");
    let answer = stage.gateway.ask(Ask::chat("first-event-alone", true)).await;
    assert_eq!((answer.status, answer.whole), (200, true));
    assert!(answer.text().starts_with("data: {\"error\":{"), "{}", answer.text());
    assert_eq!(stage.gateway.line_of(&answer).await["end"], "error_event");
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_event_calls_for_the_next() {
    let stage = start().await;
    for model in ["cut-at-0", "reset-at-0"] {
        for ask in [
            Ask::chat(model, true),
            Ask::responses(model, true),
            Ask::messages(&format!("m-{model}"), true),
        ] {
            let answer = stage.gateway.ask(ask).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{model}: {}", answer.text());
            assert_eq!(answer.header("x-gateway-attempt-count"), "2", "{model}");
        }
        let answer = stage.gateway.ask(Ask::chat(&format!("{model}-alone"), true)).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (502, "upstream_invalid"),
            "{model}"
        );
    }
}

#[tokio::test]
async fn nothing_is_retried_after_a_body_byte() {
    let stage = start().await;
    for ask in
        [Ask::chat("half", true), Ask::responses("half", true), Ask::messages("m-half", true)]
    {
        let answer = stage.gateway.ask(ask).await;
        assert_eq!((answer.status, answer.header("x-gateway-attempt-count")), (200, "1"));
        assert!(answer.text().contains("upstream_invalid"), "{}", answer.text());
    }
    assert_eq!(stage.second.requests().len(), 0);
    // A document is held until it is whole: nothing has gone out yet.
    let answer = stage.gateway.ask(Ask::chat("half", false)).await;
    assert_eq!(
        (answer.status, answer.header("x-gateway-attempt-count")),
        (200, "2"),
        "{}",
        answer.text()
    );
    let answer = stage.gateway.ask(Ask::chat("half-alone", false)).await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (502, "upstream_invalid"));
}

#[tokio::test]
async fn no_retry_on_a_timeout_if_so_configured() {
    let (first, second) = (mock("first").await, mock("second").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: x, provider: first, upstream_id: 'mock-latency=60000'}}\n  \
         - {{id: y, provider: second}}\nrouting:\n  retry_on_timeout: false\n  fallbacks: {{x: [y]}}\n",
        openai("first", first.addr, ", first_byte_timeout_ms: 300"),
        openai("second", second.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let answer = gateway.ask(Ask::chat("x", false)).await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (504, "upstream_timeout"));
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_loop() {
    let (first, second) = (mock("first").await, mock("second").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: x, provider: first, upstream_id: 'mock-latency=700-503'}}\n  \
         - {{id: y, provider: second}}\nrouting:\n  cooldown_ms: 0\n  fallbacks: {{x: [y]}}\n",
        openai("first", first.addr, ""),
        openai("second", second.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    for count in 1..=3 {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&Ask::chat("x", count == 2).to_bytes()).await;
        assert!(
            first
                .wait_for(SOON, |seen| seen.number == count && seen.body_bytes > 0)
                .await
                .is_some()
        );
        drop(line);
        assert!(
            first.wait_for(SOON, |seen| seen.number == count && seen.closed_early).await.is_some()
        );
    }
    for line in gateway.lines_when(3).await {
        assert_eq!(line["end"], "client_gone", "{line}");
        assert_eq!(line["attempts"].as_array().unwrap().len(), 1, "{line}");
    }
    assert_eq!(gateway.ask(Ask::chat("y", false)).await.status, 200);
    assert_eq!(second.requests().len(), 1, "only the request of its own");
}

#[tokio::test]
async fn a_dead_connection_of_the_pool_is_no_failure() {
    let stage = start().await;
    let prime = stage.gateway.ask(Ask::chat("good", false)).await;
    assert_eq!(prime.status, 200);
    let address = stage.second.addr;
    let Stage { gateway, second, first: _first, _broken } = stage;
    second.shutdown().await;
    let config = loadtest::upstream::server::MockConfig { listen: address, ..Default::default() };
    let again = Upstream::start(config).await.unwrap();
    for stream in [false, true] {
        let answer = gateway.ask(Ask::chat("good", stream)).await;
        assert_eq!((answer.status, answer.header("x-gateway-attempt-count")), (200, "1"));
    }
    assert_eq!(again.requests().len(), 2);
}

/// A gateway before one provider that waits long for an answer to begin, and not long within one.
async fn patient(address: std::net::SocketAddr) -> Gateway {
    let times = ", first_byte_timeout_ms: 30000, idle_timeout_ms: 600";
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up}}\nrouting: {{cooldown_ms: 0}}\n",
        openai("up", address, times)
    );
    Setup::new(yaml).start().await
}

#[tokio::test]
async fn the_wait_for_an_answer_is_not_cut_short_by_the_pause_within_one() {
    let up = mock("up").await;
    let times = ", first_byte_timeout_ms: 30000, idle_timeout_ms: 300";
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: 'mock-latency=1500'}}\n",
        openai("up", up.addr, times)
    );
    let gateway = Setup::new(yaml).start().await;
    for stream in [false, true] {
        let answer = gateway.ask(Ask::chat("m", stream)).await;
        assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
        assert_eq!(answer.header("x-gateway-attempt-count"), "1");
    }
}

#[tokio::test]
async fn a_pause_within_an_answer_ends_it_however_long_its_beginning_may_take() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\
                 \"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
    // Before anything is shown, and after.
    for (said, shown) in [("", false), (event, true)] {
        let (address, script) = scripted().await;
        let gateway = patient(address).await;
        script.send(format!("{head}{said}").into_bytes()).unwrap();
        let began = tokio::time::Instant::now();
        let answer = gateway.ask(Ask::chat("m", true)).await;
        let took = began.elapsed();
        drop(script);
        assert!(took < std::time::Duration::from_secs(15), "{took:?}");
        if shown {
            assert!(answer.text().contains("\"error\""), "{}", answer.text());
        } else {
            assert_eq!((answer.status, answer.openai_code().as_str()), (504, "upstream_timeout"));
        }
    }
}

#[tokio::test]
async fn a_slow_client_is_no_pause_of_the_provider() {
    let up = mock("up").await;
    let times = ", first_byte_timeout_ms: 30000, idle_timeout_ms: 400";
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: 'mock-chunks=40000'}}\n",
        openai("up", up.addr, times)
    );
    let gateway = Setup::new(yaml).start().await;
    let mut line = Line::open_narrow(gateway.data).await.unwrap();
    let head = line.begin(&Ask::chat("m", true)).await.unwrap();
    // Longer than the pause that is allowed, while the provider's words stand in every buffer on the way.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let answer = line.rest(head).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.body.len());
}
