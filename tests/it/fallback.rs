//! The next candidate on a status: which statuses, at which place of the chain, with bodies of any size and
//! framing; what the client gets when all fail; rests and credentials.
//!
//! Failures below HTTP are in `fallback_transport`.

use std::fmt::Write;

use loadtest::upstream::seen::sha256_hex;
use loadtest::upstream::server::Upstream;

use crate::client::{Answer, Ask};
use crate::gateway::{AGENT_KEY, Gateway, Setup, sum_of, wait_until};
use crate::provider::{Canned, anthropic, key_of, mock, openai};

/// The default of `routing.retry_statuses`.
const RETRY_STATUSES: [u16; 9] = [408, 412, 429, 500, 502, 503, 504, 524, 529];
const KIB: usize = 1024;
/// Bytes of text in a request body.
const SIZES: [usize; 3] = [KIB, 100 * KIB, 5 * KIB * KIB];
/// Bytes of a chunk of a request body.
const CHUNK: usize = 48 * KIB;

/// A gateway before three providers.
struct Stage {
    gateway: Gateway,
    ups: [Upstream; 3],
}

impl Stage {
    async fn start(models: &str, routing: &str) -> Self {
        let ups = [mock("a").await, mock("b").await, mock("c").await];
        let mut yaml = "providers:\n".to_owned();
        for (name, up) in ["a", "b", "c"].iter().zip(&ups) {
            yaml += &openai(name, up.addr, "");
            yaml += &anthropic(&format!("{name}-claude"), up.addr, "");
        }
        write!(yaml, "models:\n{models}routing:\n  cooldown_ms: 0\n{routing}").unwrap();
        Self { gateway: Setup::new(yaml).start().await, ups }
    }

    fn clear(&self) {
        self.ups.iter().for_each(Upstream::clear);
    }

    /// How many requests each provider has seen.
    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|at| self.ups[at].requests().len())
    }
}

/// Where in its chain a request fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    FirstOfTwo,
    FirstTwoOfThree,
    All,
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
struct Case {
    status: u16,
    place: Place,
    size: usize,
    chunked: bool,
    stream: bool,
}

impl Case {
    fn model(&self) -> String {
        let place = match self.place {
            Place::FirstOfTwo => "two",
            Place::FirstTwoOfThree => "three",
            Place::All => "all",
        };
        format!("{place}-{}", self.status)
    }

    /// What each provider should be asked for, by its own name of the model.
    fn upstream_models(&self) -> Vec<String> {
        let bad = format!("mock-{}", self.status);
        match self.place {
            Place::FirstOfTwo => vec![bad, "mock-good-b".to_owned()],
            Place::FirstTwoOfThree => vec![bad.clone(), bad, "mock-good-c".to_owned()],
            Place::All => vec![bad.clone(), bad.clone(), format!("{bad}-retryafter=7")],
        }
    }

    fn body(&self, model: &str) -> String {
        let text = "weir ".repeat(self.size / 5);
        let stream = self.stream;
        format!(
            r#"{{ "messages" : [{{"role":"user","content":"{text}"}}],"stream":{stream}, "stream_options":{{"include_usage":true}},"x":"é\u00e9","model" : "{model}" , "seed":7}}"#
        )
    }
}

fn matrix_models() -> (String, String) {
    let mut models = "  - {id: good-b, provider: b, upstream_id: mock-good-b}\n  \
         - {id: good-c, provider: c, upstream_id: mock-good-c}\n"
        .to_owned();
    let mut chains = "  fallbacks:\n".to_owned();
    for status in RETRY_STATUSES {
        for place in ["two", "three", "all"] {
            writeln!(
                models,
                "  - {{id: {place}-{status}, provider: a, upstream_id: mock-{status}}}"
            )
            .unwrap();
        }
        writeln!(models, "  - {{id: b-{status}, provider: b, upstream_id: mock-{status}}}")
            .unwrap();
        writeln!(
            models,
            "  - {{id: c-{status}, provider: c, upstream_id: 'mock-{status}-retryafter=7'}}"
        )
        .unwrap();
        writeln!(chains, "    two-{status}: [good-b]\n    three-{status}: [b-{status}, good-c]")
            .unwrap();
        writeln!(chains, "    all-{status}: [b-{status}, c-{status}]").unwrap();
    }
    (models, chains)
}

/// Every combination, of which the large bodies take a quarter: each status at each place, with every
/// framing and kind of answer among them.
fn matrix() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, status) in RETRY_STATUSES.into_iter().enumerate() {
        let places = [Place::FirstOfTwo, Place::FirstTwoOfThree, Place::All];
        for (place_at, place) in places.into_iter().enumerate() {
            for size in SIZES {
                for (chunked, stream) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let corner = usize::from(chunked) * 2 + usize::from(stream);
                    if size < SIZES[2] || (at + place_at + corner).is_multiple_of(4) {
                        cases.push(Case { status, place, size, chunked, stream });
                    }
                }
            }
        }
    }
    cases
}

#[tokio::test]
async fn every_retry_status_at_every_place_with_every_body() {
    let (models, chains) = matrix_models();
    let stage = Stage::start(&models, &chains).await;
    let cases = matrix();
    for case in &cases {
        check_case(&stage, case).await;
    }
    let failed: u64 = cases.iter().map(|case| case.upstream_models().len() as u64 - 1).sum();
    let page = stage.gateway.metrics_after(cases.len()).await;
    assert_eq!(sum_of(&page, "weir_fallbacks_total", &[]), failed);
    let lost = cases.iter().filter(|case| case.place == Place::All).count() as u64;
    let answered = sum_of(&page, "weir_attempts_total", &["outcome=\"answered\""]);
    assert_eq!(answered, cases.len() as u64, "the last answer is the answer");
    let good = sum_of(&page, "weir_requests_total", &["status=\"200\"", "dialect=\"openai\""]);
    assert_eq!(good, cases.len() as u64 - lost);
}

async fn check_case(stage: &Stage, case: &Case) {
    stage.clear();
    let model = case.model();
    let ask = Ask::post("/v1/chat/completions", case.body(&model));
    let ask = if case.chunked { ask.chunked(CHUNK) } else { ask };
    let answer = stage.gateway.ask(ask).await;
    assert!(answer.whole, "{case:?}");
    for (at, upstream_model) in case.upstream_models().iter().enumerate() {
        let name = ["a", "b", "c"][at];
        let seen = stage.ups[at].requests();
        assert_eq!(seen.len(), 1, "{case:?}: requests at {name}");
        let expected = case.body(upstream_model);
        assert_eq!(seen[0].body_bytes, expected.len() as u64, "{case:?} at {name}");
        assert_eq!(seen[0].body_sha256, sha256_hex(expected.as_bytes()), "{case:?} at {name}");
        assert_eq!(seen[0].path, "/v1/chat/completions");
        assert_eq!(seen[0].header("host"), Some(stage.ups[at].addr.to_string().as_str()));
        assert_eq!(seen[0].header("content-length"), Some(expected.len().to_string().as_str()));
        assert_eq!(seen[0].header("transfer-encoding"), None);
        assert_eq!(seen[0].credentials.len(), 1, "{case:?}: {:?}", seen[0].credentials);
        assert!(seen[0].carried(&key_of(name)), "{case:?} at {name}");
    }
    let tried = case.upstream_models().len();
    assert_eq!(stage.counts().iter().sum::<usize>(), tried, "{case:?}");
    assert_eq!(answer.header("x-gateway-attempt-count"), tried.to_string(), "{case:?}");
    assert_eq!(answer.header("x-gateway-switched"), "1");
    check_answer(case, &answer);
}

fn check_answer(case: &Case, answer: &Answer) {
    let text = answer.text();
    if case.place == Place::All {
        assert_eq!(answer.status, case.status, "{case:?}: {text}");
        assert_eq!(answer.header("retry-after"), "7");
        assert!(answer.header("x-request-id").starts_with("req_mock_"));
        assert!(text.starts_with(r#"{"error":{"#) && !text.contains("gateway_notice"), "{text}");
        assert_eq!(answer.header("x-gateway-model-used"), format!("c-{}", case.status));
        return;
    }
    let served = if case.place == Place::FirstOfTwo { "b" } else { "c" };
    assert_eq!(answer.status, 200, "{case:?}: {text}");
    assert_eq!(answer.header("x-gateway-provider"), served);
    assert_eq!(answer.header("x-gateway-model-used"), format!("good-{served}"));
    let notice = if case.stream {
        assert!(text.starts_with("event: gateway_notice\ndata: {"), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let data = text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
        let chunk: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(chunk["choices"][0]["delta"]["content"], "", "{chunk}");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        chunk["gateway_notice"].clone()
    } else {
        assert_eq!(answer.json()["choices"][0]["message"]["role"], "assistant", "{text}");
        answer.json()["gateway_notice"].clone()
    };
    let told = |camel: &str, snake: &str| {
        assert_eq!(notice[camel], notice[snake], "{notice}");
        notice[camel].clone()
    };
    assert_eq!(told("fromModel", "from_model"), case.model());
    assert_eq!(told("toModel", "to_model"), format!("good-{served}"));
    assert_eq!(told("triggerStatus", "trigger_status"), case.status);
    assert_eq!(told("fromRoute", "from_route"), "a");
    assert_eq!(told("toRoute", "to_route"), served);
    assert_eq!(notice["attempts"], case.upstream_models().len());
}

#[tokio::test]
async fn other_statuses_come_back_at_once() {
    let models = "  - {id: good, provider: b}\n  - {id: '*', provider: a}\n  \
         - {id: m-400, provider: a, upstream_id: mock-400}\n  - {id: m-404, provider: a, upstream_id: mock-404}\n  \
         - {id: m-422, provider: a, upstream_id: mock-422}\n  - {id: m-302, provider: a, upstream_id: mock-302}\n";
    let stage = Stage::start(models, "  fallback_default: [good]\n").await;
    for status in [400_u16, 404, 422, 302] {
        for stream in [false, true] {
            stage.clear();
            let answer = stage.gateway.ask(Ask::chat(&format!("m-{status}"), stream)).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_eq!(stage.counts(), [1, 0, 0], "{status}");
            assert_eq!(answer.header("x-gateway-attempt-count"), "1");
            assert_eq!(answer.header("x-gateway-switched"), "0");
            assert!(!answer.text().contains("_weir"), "an error is passed on unchanged");
        }
    }
}

/// Odd spacing, so that a body which was read and written anew would show.
const LAST_BODY: &[u8] = b"{ \"error\" :{\"message\":\"slow \\u00e9 down\", \"code\":429 }}\n\n";

#[tokio::test]
async fn the_last_answer_comes_back_byte_for_byte() {
    let headers = "retry-after: 7\r\nx-request-id: req_last\r\nrequest-id: req_two\r\n\
                   x-ratelimit-remaining-requests: 0\r\nx-should-retry: true\r\nset-cookie: a=b\r\n";
    let first =
        Canned::json("503 Busy", "x-request-id: req_first\r\n", b"{\"error\":\"first\"}").await;
    let last = Canned::json("429 Slow Down", headers, LAST_BODY).await;
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: one, provider: first}}\n  - {{id: two, provider: last}}\n  \
         - {{id: three, provider: nobody}}\nrouting:\n  cooldown_ms: 0\n  \
         fallbacks: {{one: [two], two: [three], three: [two]}}\n",
        openai("first", first.address, ""),
        openai("last", last.address, "") + &openai("nobody", crate::gateway::free_port(), "")
    );
    let gateway = Setup::new(yaml).start().await;
    // The last of two, and the one that answered before nobody could be reached, whatever the order.
    for (model, stream) in [("one", false), ("one", true), ("two", false), ("three", true)] {
        let answer = gateway.ask(Ask::chat(model, stream)).await;
        assert_eq!(answer.status, 429, "{model}");
        assert_eq!(answer.body, LAST_BODY, "{model}");
        assert_eq!(answer.header("retry-after"), "7", "{model}");
        assert_eq!(answer.header("x-request-id"), "req_last", "{model}");
        assert_eq!(answer.header("request-id"), "req_two", "{model}");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), "0", "{model}");
        assert_eq!(answer.header("x-should-retry"), "true", "{model}");
        assert!(!answer.has("set-cookie"), "{model}");
    }
}

/// What a client gets of a failure with a page of that size: from the only candidate, from one before another that
/// nobody can reach, and from a guarded one.
async fn pages(status: &str, size: usize) -> (Vec<u8>, [Answer; 3]) {
    let page = vec![b'e'; size];
    let busy = Canned::json(status, "retry-after: 7\r\n", &page).await;
    let yaml = |guard: &str| {
        format!(
            "providers:\n{}{}models:\n  - {{id: only, provider: busy}}\n  - {{id: one, provider: busy}}\n  \
             - {{id: two, provider: nobody}}\nrouting: {{cooldown_ms: 0, fallbacks: {{one: [two]}}}}\n{guard}",
            openai("busy", busy.address, ""),
            openai("nobody", crate::gateway::free_port(), "")
        )
    };
    let plain = Setup::new(yaml("")).start().await;
    let guarded = Setup::new(yaml("guard: {output: {secrets: redact}}\n")).start().await;
    let only = plain.ask(Ask::chat("only", false)).await;
    let one = plain.ask(Ask::chat("one", false)).await;
    (page, [only, one, guarded.ask(Ask::chat("only", true)).await])
}

#[tokio::test]
async fn a_large_error_page_comes_back_whole() {
    for (status, number) in [("503 Busy", 503), ("400 No", 400)] {
        let (page, answers) = pages(status, 300 * KIB).await;
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (number, "7"),
                "{status} {at}"
            );
            assert_eq!(answer.body.len(), page.len(), "{status} {at}");
            assert!(answer.body == page && answer.whole, "{status} {at}");
        }
    }
}

#[tokio::test]
async fn of_an_error_page_without_end_the_status_comes_back() {
    for (status, number) in [("503 Busy", 503), ("400 No", 400)] {
        let (page, [only, one, guarded]) = pages(status, 3 * 1024 * KIB).await;
        assert_eq!(
            (only.status, only.body == page),
            (number, true),
            "{status}: nobody has to keep it"
        );
        // Half a body under its status would be another answer.
        let told: &[&Answer] = if number == 503 { &[&one, &guarded] } else { &[&guarded] };
        for answer in told {
            assert_eq!((answer.status, answer.header("retry-after")), (number, "7"), "{status}");
            assert_eq!(answer.openai_code(), "upstream_invalid", "{status}");
            assert!(answer.whole, "{status}");
        }
    }
}

#[tokio::test]
async fn with_nobody_reached_the_refusal_is_ours() {
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: two, provider: nobody}}\nrouting: {{cooldown_ms: 0}}\n",
        openai("nobody", crate::gateway::free_port(), "")
    );
    let answer = Setup::new(yaml).start().await.ask(Ask::chat("two", false)).await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (502, "upstream_unreachable"));
}

#[tokio::test]
async fn no_more_attempts_than_allowed() {
    let models = "  - {id: x, provider: a, upstream_id: mock-503}\n  - {id: y, provider: b, upstream_id: mock-503}\n  \
         - {id: z, provider: c}\n";
    for (max, counts, status) in [(1, [1, 0, 0], 503), (2, [1, 1, 0], 503), (3, [1, 1, 1], 200)] {
        let routing = format!("  attempts_max: {max}\n  fallbacks: {{x: [y, z]}}\n");
        let stage = Stage::start(models, &routing).await;
        let answer = stage.gateway.ask(Ask::chat("x", false)).await;
        assert_eq!((answer.status, stage.counts()), (status, counts), "attempts_max {max}");
    }
}

#[tokio::test]
async fn configured_statuses_replace_the_default() {
    let models = "  - {id: x-418, provider: a, upstream_id: mock-418}\n  - {id: x-503, provider: a, upstream_id: mock-503}\n  \
         - {id: good, provider: b}\n";
    let stage = Stage::start(models, "  retry_statuses: [418]\n  fallback_default: [good]\n").await;
    assert_eq!(stage.gateway.ask(Ask::chat("x-418", false)).await.status, 200);
    assert_eq!(stage.gateway.ask(Ask::chat("x-503", false)).await.status, 503);
    assert_eq!(stage.counts(), [2, 1, 0]);
}

#[tokio::test]
async fn an_endpoint_rests_as_long_as_it_asked_and_recovers() {
    for (upstream_id, cooldown) in
        [("mock-429-fail=1-retryafter=1", 60_000), ("mock-503-fail=1", 700)]
    {
        let models = format!(
            "  - {{id: x, provider: a, upstream_id: '{upstream_id}'}}\n  - {{id: y, provider: b}}\n"
        );
        let ups = [mock("a").await, mock("b").await];
        let yaml = format!(
            "providers:\n{}{}models:\n{models}routing:\n  cooldown_ms: {cooldown}\n  fallbacks: {{x: [y]}}\n",
            openai("a", ups[0].addr, ""),
            openai("b", ups[1].addr, "")
        );
        let gateway = Setup::new(yaml).start().await;
        let first = gateway.ask(Ask::chat("x", false)).await;
        assert_eq!((first.status, first.header("x-gateway-attempt-count")), (200, "2"));
        let second = gateway.ask(Ask::chat("x", false)).await;
        assert_eq!((second.status, second.header("x-gateway-attempt-count")), (200, "1"));
        assert_eq!(second.header("x-gateway-switched"), "1", "its first choice rests");
        assert_eq!(ups[0].requests().len(), 1, "{upstream_id}: it was left alone");
        wait_until("it is asked again", || async {
            let answer = gateway.ask(Ask::chat("x", false)).await;
            assert_eq!((answer.status, answer.header("x-gateway-attempt-count")), (200, "1"));
            answer.header("x-gateway-switched") == "0"
        })
        .await;
        assert_eq!(ups[0].requests().len(), 2);
    }
}

#[tokio::test]
async fn resting_endpoints_are_asked_all_the_same_when_nobody_else_is_left() {
    let models = "  - {id: x, provider: a, upstream_id: mock-429-fail=1-retryafter=30}\n";
    let stage = Stage::start(models, "").await;
    assert_eq!(stage.gateway.ask(Ask::chat("x", false)).await.status, 429);
    assert_eq!(stage.gateway.ask(Ask::chat("x", false)).await.status, 200);
}

#[tokio::test]
async fn a_refused_key_of_ours_calls_for_the_next_and_is_never_shown() {
    let models = "  - {id: x-401, provider: a, upstream_id: mock-401}\n  - {id: x-403, provider: c, upstream_id: mock-403}\n  \
         - {id: y, provider: b}\n  - {id: m-401, provider: a-claude, upstream_id: mock-401}\n  \
         - {id: m-403, provider: b-claude, upstream_id: mock-403}\n";
    let stage = Stage::start(models, "  fallbacks: {x-401: [y], x-403: [y]}\n").await;
    for (model, provider) in [("x-401", "a"), ("x-403", "c")] {
        let answer = stage.gateway.ask(Ask::chat(model, false)).await;
        assert_eq!((answer.status, answer.header("x-gateway-provider")), (200, "b"), "{model}");
        assert_eq!(answer.header("x-gateway-attempt-count"), "2");
        let again = stage.gateway.ask(Ask::chat(model, true)).await;
        assert_eq!(
            (again.status, again.header("x-gateway-attempt-count")),
            (200, "1"),
            "{model} rests"
        );
        stage.gateway.line_of(&again).await;
        let label = format!("provider=\"{provider}\"");
        assert_eq!(stage.gateway.metric("weir_upstream_auth_failures_total", &[&label]).await, 1);
    }
    for (model, status) in [("m-401", 401), ("m-403", 403)] {
        let answer = stage.gateway.ask(Ask::messages(model, false)).await;
        assert_eq!((answer.status, answer.anthropic_type().as_str()), (502, "api_error"));
        assert_eq!(answer.json()["error"]["details"]["error_code"], "upstream_auth_failed");
        assert!(!answer.text().contains("mock:"), "{status}: {}", answer.text());
        assert_eq!(stage.gateway.line_of(&answer).await["attempts"][0]["outcome"], "auth_failed");
    }
}

#[tokio::test]
async fn a_refused_key_with_none_left_is_502_in_openai_shape() {
    let models = "  - {id: x, provider: a, upstream_id: mock-401}\n  - {id: y, provider: b, upstream_id: mock-403}\n";
    let stage = Stage::start(models, "  fallbacks: {x: [y]}\n").await;
    for stream in [false, true] {
        let answer = stage.gateway.ask(Ask::chat("x", stream)).await;
        assert_eq!((answer.status, answer.openai_code().as_str()), (502, "upstream_auth_failed"));
        assert!(
            !answer.text().contains("mock:") && !answer.has("x-request-id"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_clients_credential_reaches_one_provider_only() {
    let (a, b, c) = (mock("a").await, mock("b").await, mock("c").await);
    let keyless = |name: &str, up: &Upstream| {
        format!("  {name}: {{dialect: openai, base_url: 'http://{}/v1'}}\n", up.addr)
    };
    let yaml = format!(
        "providers:\n{}{}{}models:\n  - {{id: x, provider: a, upstream_id: mock-429}}\n  \
         - {{id: y, provider: b, upstream_id: mock-429}}\n  - {{id: z, provider: c}}\n  \
         - {{id: w, provider: a, upstream_id: mock-401}}\nrouting:\n  cooldown_ms: 0\n  \
         fallbacks: {{x: [y, z], y: [x, z], w: [y]}}\n",
        keyless("a", &a),
        openai("b", b.addr, ""),
        keyless("c", &c)
    );
    let auth = format!("{{agent_keys: ['{AGENT_KEY}'], pass_through: true}}");
    let gateway = Setup::new(yaml).auth(&auth).start().await;
    let secret = "sk-the-clients-own-secret";
    for model in ["x", "y"] {
        let ask = Ask::chat(model, false).bearer(secret).header("x-api-key", AGENT_KEY);
        gateway.ask(ask).await;
    }
    assert!(a.requests().len() >= 2 && b.requests().len() >= 2);
    for seen in a.requests() {
        assert!(seen.carried(secret) && seen.credentials.len() == 1, "{:?}", seen.credentials);
    }
    for seen in b.requests() {
        assert!(
            seen.carried(&key_of("b")) && seen.credentials.len() == 1,
            "{:?}",
            seen.credentials
        );
    }
    for seen in c.requests() {
        assert!(seen.credentials.is_empty(), "{:?}", seen.credentials);
    }
    // The client's own credential was refused: that is for the client to see, and no other is tried.
    let ask = Ask::chat("w", false).bearer(secret).header("x-api-key", AGENT_KEY);
    let answer = gateway.ask(ask).await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("mock: Incorrect API key provided"), "{}", answer.text());
}

#[tokio::test]
async fn without_pass_through_nothing_of_the_clients_goes_upstream() {
    let stage = Stage::start("  - {id: x, provider: a}\n", "").await;
    let ask = Ask::chat("x", false).header("x-api-key", "sk-the-clients-own-secret");
    let ask =
        ask.header("cookie", "session=1").header("x-goog-api-key", "k").header("api-key", "k");
    assert_eq!(stage.gateway.ask(ask.header("x-forwarded-for", "1.2.3.4")).await.status, 200);
    let seen = stage.ups[0].requests().remove(0);
    assert!(seen.carried(&key_of("a")) && seen.credentials.len() == 1, "{:?}", seen.credentials);
    assert_eq!(seen.header("x-forwarded-for"), None);
}
