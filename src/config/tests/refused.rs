//! What is refused: every bad input with the path and the words of its problem.

use std::path::Path;

use super::*;

use crate::config::keys;
use crate::config::snapshot::{AccessLog, Tls};
use crate::config::{Certificates, Outside, Verdict, load_with};
use crate::dialect::notice::NoticeMode;

#[test]
fn bad_prices_name_their_key() {
    for (price, fragment) in [
        ("3 USD", "\"3 USD\" is not a plain decimal"),
        ("$3", "\"$3\" is not a plain decimal"),
        ("3.00/1k", "not a plain decimal"),
        ("\"1,5\"", "not a plain decimal"),
        ("-1", "must not be negative"),
        ("0.0000001", "more digits"),
        (".inf", "not a plain decimal"),
        (".nan", "not a plain decimal"),
        ("1e99", "too large"),
        ("[1]", "not a list"),
        ("{usd: 1}", "not a mapping"),
    ] {
        let keys = format!("price: {{input: 1, output: {price}}}");
        model_refused(&keys, "models[0].price.output", fragment);
    }
    model_refused(
        "price: {input: \"$3\", output: 1}",
        "models[0].price.input",
        "USD per million tokens",
    );
    model_refused("price: {input: 3}", "models[0].price.output", "is missing");
    model_refused("price: 3", "models[0].price", "must be a mapping");
    model_refused("price: {input: 3, output: 1, inputs: 3}", "models[0].price.inputs", "`input`");
    let long = "price: {input: 3, output: 1, long_context: {input: 3, output: 1}}";
    model_refused(long, "models[0].price.long_context.above_tokens", "is missing");
}

#[test]
fn what_stands_in_a_header_is_ascii() {
    let fragment = "cannot stand in a header (visible ASCII";
    for (keys, path) in [
        ("api_key: cl\u{e9}", "providers.p.api_key"),
        ("api_keys: [a, cl\u{e9}]", "providers.p.api_keys"),
        ("auth_prefix: 'cl\u{e9} ', api_key: k", "providers.p.auth_prefix"),
        ("headers: {x-a: cl\u{e9}}", "providers.p.headers.x-a"),
    ] {
        let keys = format!("dialect: openai, base_url: 'https://h', {keys}");
        provider_refused(&keys, path, fragment);
    }
    refused("console: {url: 'https://c', api_key: cl\u{e9}}", "console.api_key", fragment);
}

#[test]
fn unknown_keys_name_the_nearest() {
    refused("servr: {}", "servr", "(did you mean `server`?)");
    refused("zebra: {}", "zebra", "known here: server, auth");
    refused("server: {thread: 3}", "server.thread", "`threads`");
    refused("auth: {agent_key: []}", "auth.agent_key", "`agent_keys`");
    refused("routing: {retry_status: [500]}", "routing.retry_status", "`retry_statuses`");
    refused("stream: {notices: off}", "stream.notices", "`notice`");
    refused("agents: {x: {kees: []}}", "agents.x.kees", "`keys`");
    refused("log: {acess: off}", "log.acess", "`access`");
    refused("server: {tls: {cert: a, key: b, kye: c}}", "server.tls.kye", "`key`");
}

#[test]
fn what_comes_later_is_refused_and_not_ignored() {
    for key in keys::TOP.later {
        refused(&format!("{key}: {{}}"), key, "is not supported yet by this version");
    }
}

#[test]
fn words_are_checked() {
    refused(
        "routing: {strategy: random}",
        "routing.strategy",
        "(round_robin, passthrough, rule_based",
    );
    refused("stream: {notice: maybe}", "stream.notice", "(chunk, event, comment, off)");
    refused("stream: {metadata_field: usage}", "stream.metadata_field", "providers use");
    refused("stream: {metadata_field: gateway_notice}", "stream.metadata_field", "notices");
    refused("stream: {metadata_field: 'a\"b'}", "stream.metadata_field", "is not allowed");
    refused("agents: {x: {mode: fast}}", "agents.x.mode", "(auto, budget, pinned, manual)");
    refused("log: {access: sdtout}", "log.access", "(stdout, stderr, off");
    refused("auth: {pass_through: 1}", "auth.pass_through", "(true, false)");
    refused("server: {h2c: [true]}", "server.h2c", "not a list");
    refused("server: 5", "server", "must be a mapping");
    model_refused("tier: slow", "models[0].tier", "(fast, reasoning, oracle)");
    assert_eq!(sound("stream: {metadata_field: \"\", notice: off}").stream.notice, NoticeMode::Off);
    assert_eq!(sound("log: {access: /var/log/w}").log.access, AccessLog::File("/var/log/w".into()));
}

#[test]
fn numbers_have_ranges() {
    refused("server: {threads: 1025}", "server.threads", "(0 to 1024 threads)");
    refused("server: {threads: -1}", "server.threads", "is not a whole number (0 to 1024 threads)");
    refused("server: {threads: 1.5}", "server.threads", "is not a whole number");
    refused("server: {threads: +5}", "server.threads", "is not a whole number");
    refused("server: {body_bytes_max: 10}", "server.body_bytes_max", "(1024 to 1073741824 bytes)");
    refused(
        "server: {grace_seconds: 99999999999999999999}",
        "server.grace_seconds",
        "out of range",
    );
    refused("server: {requests_max: 0}", "server.requests_max", "(1 to 1000000");
    refused("routing: {attempts_max: 0}", "routing.attempts_max", "(1 to 16 attempts)");
    refused("routing: {cooldown_ms: 600001}", "routing.cooldown_ms", "(0 to 600000 milliseconds)");
    model_refused("context_tokens: 0", "models[0].context_tokens", "(1 to 1000000000 tokens)");
    let url = "dialect: openai, base_url: http://h";
    provider_refused(
        &format!("{url}, connect_timeout_ms: 0"),
        "providers.p.connect_timeout_ms",
        "(1 to 600000",
    );
}

#[test]
fn retry_statuses_are_checked() {
    refused("routing: {retry_statuses: []}", "routing.retry_statuses", "is empty");
    refused("routing: {retry_statuses: [500, 99]}", "routing.retry_statuses[1]", "(100 to 999");
    refused("routing: {retry_statuses: [1000]}", "routing.retry_statuses[0]", "(100 to 999");
    refused("routing: {retry_statuses: [5xx]}", "routing.retry_statuses[0]", "not a whole number");
    let snapshot = sound("routing: {retry_statuses: [999, 100, 999]}");
    assert_eq!(snapshot.routing.retry.statuses.iter().collect::<Vec<_>>(), [100, 999]);
    let warnings = sound("routing: {retry_statuses: [200]}").warnings;
    assert!(warnings[0].starts_with("routing.retry_statuses[0]: "), "{warnings:?}");
}

#[test]
fn names_must_exist_and_be_one_thing() {
    let twice = format!("{PROVIDERS}{MODELS}  - {{id: a, provider: q}}\n");
    assert_problem(&read(&twice).unwrap_err(), "models[2].id", "the same id as models[0].id");
    let stranger = format!("{PROVIDERS}models: [{{id: a, provider: pp}}]");
    assert_problem(&read(&stranger).unwrap_err(), "models[0].provider", "did you mean `p`?");
    let auto = format!("{PROVIDERS}models: [{{id: Auto, provider: p}}]");
    assert_problem(&read(&auto).unwrap_err(), "models[0].id", "one of routing.auto_names");
    refused(
        "aliases: {x: nobody}",
        "aliases.x",
        "\"nobody\" is not the id of a model (configured: a, b)",
    );
    refused("aliases: {a: b}", "aliases.a", "is the id of a model already");
    refused("aliases: {AUTO: b}", "aliases.AUTO", "is one of routing.auto_names already");
    refused("aliases: {x: a, y: x}", "aliases.y", "is not the id of a model");
    refused("aliases: {\"*\": a}", "aliases[\"*\"]", "the wildcard");
    refused("aliases: {x: }", "aliases.x", "is empty");
    refused(
        "routing: {fallbacks: {z: [a]}}",
        "routing.fallbacks.z",
        "\"z\" is not the id of a model",
    );
    refused("routing: {fallbacks: {a: [b, z]}}", "routing.fallbacks.a[1]", "\"z\" is not the id");
    refused(
        "routing: {fallbacks: {a: [b, a]}}",
        "routing.fallbacks.a[1]",
        "would fall back to itself",
    );
    refused("routing: {fallbacks: {a: [b, b]}}", "routing.fallbacks.a[1]", "stands twice");
    refused("routing: {fallback_default: [z]}", "routing.fallback_default[0]", "is not the id");
    refused("agents: {x: {models: [z]}}", "agents.x.models[0]", "is not the id");
    refused("agents: {x: {models: []}}", "agents.x.models", "is empty");
    refused("agents: {x: {models: ['*']}}", "agents.x.models[0]", "is not the id");
}

#[test]
fn names_have_a_form() {
    refused("agents: {\"a b\": {}}", "agents[\"a b\"]", "visible ASCII");
    refused(
        &format!("aliases: {{{}: a}}", "x".repeat(257)),
        &format!("aliases.{}", "x".repeat(257)),
        "too long",
    );
    model_refused("upstream_id: \"\"", "models[0].upstream_id", "1 to 256");
    let text = format!("{PROVIDERS}models: [{{id: \"\", provider: p}}]");
    assert_problem(&read(&text).unwrap_err(), "models[0].id", "is empty");
    let text = format!("{PROVIDERS}models: [{{provider: p}}]");
    assert_problem(&read(&text).unwrap_err(), "models[0].id", "is missing");
    let text = format!("{PROVIDERS}models: [{{id: a}}]");
    assert_problem(&read(&text).unwrap_err(), "models[0].provider", "is missing");
}

#[test]
fn providers_are_checked() {
    for (url, fragment) in [
        ("ftp://h/v1", "must begin with https:// or http://"),
        ("api.openai.com/v1", "is not a URL"),
        ("https://user:hunter2@h/v1", "user name or password"),
        ("https://h/v1?key=hunter2", "must not have a query"),
        ("'https://h/v1#x'", "must not have a fragment"),
        ("https:///v1", "names no host"),
        ("https://h:70000", "has a bad port"),
    ] {
        let keys = format!("dialect: openai, base_url: {url}");
        provider_refused(&keys, "providers.p.base_url", fragment);
    }
    provider_refused("base_url: http://h", "providers.p.dialect", "is missing (openai, anthropic)");
    provider_refused(
        "dialect: gemini, base_url: http://h",
        "providers.p.dialect",
        "(openai, anthropic)",
    );
    provider_refused("dialect: openai", "providers.p.base_url", "is missing");
    let refused = |keys: &str, path: &str, fragment: &str| {
        provider_refused(&format!("dialect: openai, base_url: http://h, {keys}"), path, fragment);
    };
    refused("api_key: \"\"", "providers.p.api_key", "is empty");
    refused("api_key: \"a\\r\\nx: y\"", "providers.p.api_key", "cannot stand in a header");
    refused("auth_header: 'a b'", "providers.p.auth_header", "not a usable header name");
    refused("auth_header: Host", "providers.p.auth_header", "not a usable header name");
    refused("auth_prefix: \"a\\n\"", "providers.p.auth_prefix", "cannot stand in a header");
    refused("headers: {\"a b\": c}", "providers.p.headers[\"a b\"]", "not a header name");
    refused("headers: {x-a: \"b\\r\\nc\"}", "providers.p.headers.x-a", "cannot stand in a header");
    refused("headers: {Content-Length: 5}", "providers.p.headers.Content-Length", "gateway itself");
    refused("headers: {x-a: 1, X-A: 2}", "providers.p.headers.X-A", "is given twice");
    let anthropic = "dialect: anthropic, base_url: http://h, responses: true";
    provider_refused(anthropic, "providers.p.responses", "openai dialect only");
}

#[test]
fn providers_and_models_are_needed() {
    assert_problem(
        &read(MODELS.replace("q,", "p,").as_str()).unwrap_err()[..1],
        "providers",
        "at least one",
    );
    assert_problem(&read(PROVIDERS).unwrap_err(), "models", "at least one model");
    let problems = read("models: []\nproviders: {}\n").unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["models", "providers"]);
}

#[test]
fn addresses_are_checked() {
    for bad in
        ["8080", "127.0.0.1", ":8080", "example.com:80", "127.0.0.1:0", "127.0.0.1:99999", "\"\""]
    {
        refused(&format!("server: {{listen: {bad}}}"), "server.listen", "like 127.0.0.1:8080");
        refused(&format!("server: {{admin: {bad}}}"), "server.admin", "like 127.0.0.1:8080");
    }
    refused("server: {listen: []}", "server.listen", "is empty");
    refused("server: {listen: ['127.0.0.1:1', 'x']}", "server.listen[1]", "is not an address");
    refused("server: {admin: '127.0.0.1:8080'}", "server.admin", "the same port as server.listen");
    refused(
        "server: {listen: ['127.0.0.1:1', 'localhost:1']}",
        "server.listen[1]",
        "the same port",
    );
    refused("server: {upgrade_sock: here}", "server.upgrade_sock", "an absolute path");
    refused("server: {tls: {cert: a}}", "server.tls.key", "is missing");
    let server =
        sound("server: {listen: ['localhost:81', '[::1]:82'], admin: '127.0.0.1:${DIGITS}'}")
            .server;
    assert_eq!((server.listen.len(), server.admin.port()), (2, 8_123));
    assert_eq!(sound("server: {listen: '127.0.0.1:81'}").server.listen.len(), 1);
}

#[test]
fn a_public_address_needs_keys() {
    let open = "server: {listen: '0.0.0.0:8080'}\n";
    refused(open, "server.listen", "there is no agent key");
    assert!(sound(&format!("{open}{KEY}")).gate.require_agent_key);
    let optional = "auth: {agent_keys: [sixteen-letters-x], require_agent_key: false}\n";
    refused(&format!("{open}{optional}"), "server.listen", "require_agent_key is false");
    let allowed = sound("server: {listen: '0.0.0.0:8080', allow_open: true}\n");
    assert!(!allowed.gate.require_agent_key);
    assert!(allowed.warnings[0].contains("everybody"), "{:?}", allowed.warnings);
    let own = "agents: {x: {keys: [sixteen-letters-x]}}\n";
    assert!(sound(&format!("{open}{own}")).gate.require_agent_key);
    refused("server: {listen: ['127.0.0.1:1', '[::]:8080']}\n", "server.listen[1]", "no agent key");
    refused("server: {listen: '192.168.1.5:8080'}\n", "server.listen", "no agent key");
}

#[test]
fn a_public_admin_address_needs_admin_keys() {
    let open = "server: {admin: '0.0.0.0:9090'}\n";
    refused(open, "server.admin", "there is no admin key");
    sound(&format!("{open}auth: {{admin_keys: [sixteen-letters-x]}}\n"));
    sound("server: {admin: '0.0.0.0:9090', allow_open: true}\n");
    sound("server: {admin: '[::ffff:127.0.0.1]:9090'}\n");
}

#[test]
fn demo_keys_stay_at_home() {
    let demo = "auth: {agent_keys: [weir-demo-agent-key]}\n";
    assert!(sound(demo).gate.require_agent_key);
    refused(&format!("server: {{listen: '0.0.0.0:1'}}\n{demo}"), "auth.agent_keys[0]", "demo key");
    let own = "agents: {x: {keys: weir-demo-agent-key}}\n";
    refused(&format!("server: {{listen: '0.0.0.0:1'}}\n{own}"), "agents.x.keys", "demo key");
    sound(&format!("server: {{listen: '0.0.0.0:1', allow_open: true}}\n{demo}"));
}

#[test]
fn keys_are_checked_and_never_shown() {
    refused("auth: {agent_keys: [\"\"]}", "auth.agent_keys[0]", "is empty");
    refused("auth: {agent_keys: [\"${EMPTY}\"]}", "auth.agent_keys[0]", "is empty");
    refused("auth: {admin_keys: [tooshort]}", "auth.admin_keys[0]", "at least 16 characters");
    refused("auth: {admin_keys: ['sha256:12']}", "auth.admin_keys[0]", "64 hex digits");
    let twice = "auth: {admin_keys: [sixteen-letters-x], agent_keys: [sixteen-letters-x]}";
    refused(twice, "auth.agent_keys[0]", "the same key as auth.admin_keys[0]");
    let hash = crate::identity::key::KeyHash::of(b"sixteen-letters-x");
    let by_hash = format!("agents: {{x: {{keys: ['{hash}']}}, y: {{keys: sixteen-letters-x}}}}");
    refused(&by_hash, "agents.y.keys", "the same key as agents.x.keys[0]");
    let problems =
        unsound(&format!("{twice}\nproviders2: 1\nserver: {{threads: '${{SECRET}}'}}\n"));
    for problem in &problems {
        let line = problem.to_string();
        assert!(!line.contains("letters-x") && !line.contains("super-secret"), "{line}");
    }
    assert_eq!(problems.len(), 3);
}

#[test]
fn secrets_appear_neither_in_problems_nor_in_debug_output() {
    let text = format!(
        "{PROVIDERS}  s: {{dialect: openai, base_url: 'http://h:${{SECRET}}', api_key: '${{BAD_SECRET}}'}}\n{MODELS}\
         routing: {{strategy: '${{SECRET}}', retry_statuses: ['${{SECRET}}']}}\nlog: {{access: '${{SECRET}}'}}\n"
    );
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.len(), 5);
    for problem in problems {
        assert!(!problem.to_string().contains("super-secret"), "{problem}");
    }
    let snapshot =
        sound("auth: {agent_keys: ['${SECRET}'], admin_keys: [another-super-secret-key]}");
    assert!(!format!("{snapshot:?}").contains("super-secret"));
}

#[test]
fn names_from_the_environment_are_not_shown_either() {
    let model = "models: [{id: '${SECRET}', provider: '${SECRET}'}]\n";
    let rest =
        "aliases: {x: '${SECRET}-x'}\nrouting: {fallback_default: ['${SECRET}', '${SECRET}']}\n";
    let problems = read(&format!("{PROVIDERS}{model}{rest}")).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["models[0].provider", "aliases.x", "routing.fallback_default[1]"]);
    for problem in &problems {
        let message = &problem.message;
        assert!(message.contains("not shown") && !message.contains("super"), "{problem}");
    }
}

#[test]
fn missing_variables_name_key_and_variable() {
    refused(
        "auth: {agent_keys: [\"${NOT_SET}\"]}",
        "auth.agent_keys[0]",
        "NOT_SET, which is not set",
    );
    refused("server: {threads: \"${}\"}", "server.threads", "names no variable");
    assert_eq!(sound("server: {threads: \"${N:-3}\"}").server.threads, 3);
    // One missing variable is one problem, also where the key is needed or has to be a number.
    provider_refused("dialect: openai, base_url: '${NOT_SET}'", "providers.p.base_url", "NOT_SET");
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "server: {threads: x}\nauth: {admin_keys: [short]}\nproviders:\n  p: {dialect: x}\nmodels:\n  \
                - {id: a, provider: z}\nrouting: {strategy: x}\n";
    let lines: Vec<String> = read(text).unwrap_err().iter().map(Problem::to_string).collect();
    let paths: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let expected = [
        "server.threads",
        "auth.admin_keys[0]",
        "providers.p.dialect",
        "providers.p.base_url",
        "models[0].provider",
        "routing.strategy",
    ];
    assert_eq!(paths, expected, "{lines:#?}");
    assert!(lines[5].ends_with("[line 7]"), "{lines:#?}");
}

#[test]
fn broken_files_are_named() {
    for (text, fragment) in [
        ("", "is empty"),
        ("- a", "must be a mapping"),
        ("a: [1", "is not valid YAML"),
        ("models: []\nmodels: []\n", "the key \"models\" is given twice"),
    ] {
        let problems = read(text).unwrap_err();
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "weir.yaml"), "{text:?}");
        assert!(problems[0].message.contains(fragment), "{:?}", problems[0]);
    }
    assert!(read(&format!("\u{feff}{PROVIDERS}{MODELS}")).is_ok());
    assert!(read(&format!("{PROVIDERS}{MODELS}").replace('\n', "\r\n")).is_ok());
}

#[test]
fn certificates_are_checked() {
    let with = |keys: &str, found: Certificates| {
        let text = format!(
            "providers:\n  p: {{dialect: openai, {keys}}}\nmodels: [{{id: a, provider: p}}]\n"
        );
        let certificates = move |path: &Path| {
            assert_eq!(path, Path::new("/some/ca.pem"));
            found.clone()
        };
        let outside = Outside { certificates: &certificates, ..Outside::env_alone(&env) };
        load_with(&text, "weir.yaml", &outside)
    };
    let (https, http) = ("base_url: 'https://h', ca", "base_url: 'http://h', ca");
    let good = with(&format!("{https}: /some/ca.pem"), Ok(vec![vec![1], vec![2]])).unwrap();
    assert_eq!(good.providers[0].authorities.as_ref().unwrap().certificates.len(), 2);
    let missing = Err("cannot be read: gone".to_owned());
    let problems = with(&format!("{https}: /some/ca.pem"), missing.clone()).unwrap_err();
    assert_problem(&problems, "providers.p.ca", "cannot be read: gone");
    let clear = with(&format!("{http}: /some/ca.pem"), missing.clone()).unwrap_err();
    assert_problem(&clear, "providers.p.ca", "has no meaning without TLS");
    let empty = with(&format!("{https}: ''"), missing).unwrap_err();
    assert_problem(&empty, "providers.p.ca", "is empty (the path of a PEM file)");
    assert!(sound("").providers[0].authorities.is_none());
}

#[test]
fn a_certificate_of_the_server_is_looked_at() {
    let with = |found: Verdict| {
        let text = format!("{PROVIDERS}{MODELS}server: {{tls: {{cert: one, key: two}}}}\n");
        let look = move |tls: &Tls| {
            assert_eq!(
                (tls.cert.as_path(), tls.key.as_path()),
                (Path::new("one"), Path::new("two"))
            );
            found.clone()
        };
        let outside = Outside { server_certificate: &look, ..Outside::env_alone(&env) };
        load_with(&text, "weir.yaml", &outside)
    };
    assert!(with(Ok(())).unwrap().server.tls.is_some());
    let problems = with(Err(("key", "is another one".to_owned()))).unwrap_err();
    assert_problem(&problems, "server.tls.key", "is another one");
}
