//! The commands: what they print, and how they end.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::client::{Ask, Line};
use crate::gateway::{ADMIN_KEY, AGENT_KEY, SOON, Setup, free_port, new_folder, wait_until};
use crate::provider::{mock, openai};

fn weir(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .current_dir(folder)
        .env_remove("WEIR_CONFIG")
        .env_remove("CONFIG_PATH")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GOOD: &str = "providers: {up: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', api_key: k}}\n\
                    models: [{id: m, provider: up, price: {input: 1, output: 2}}]\n";

const BAD: &str = "server: {threads: many, lissten: x}\nproviders: {up: {dialect: opnai, base_url: nowhere}}\n\
                   models: [{id: m, provider: down, price: {input: -1}}]\nnonsense: 1\n\
                   auth: {agent_keys: [short, '${NOT_SET_ANYWHERE}']}\n";

/// What `check` must say of `BAD`, each at its path.
const PROBLEMS: [&str; 8] = [
    "server.threads: ",
    "server.lissten: ",
    "providers.up.dialect: ",
    "providers.up.base_url: ",
    "models[0].provider: ",
    "models[0].price.input: ",
    "nonsense: ",
    "auth.agent_keys[",
];

#[test]
fn check_prints_every_problem_at_its_path() {
    let folder = new_folder();
    fs::write(folder.join("good.yaml"), GOOD).unwrap();
    fs::write(folder.join("bad.yaml"), BAD).unwrap();
    let good = weir(&folder, &["check", "-c", "good.yaml"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("ok"), "{}", text(&good.stdout));
    let bad = weir(&folder, &["check", "-c", "bad.yaml"]);
    let said = text(&bad.stderr) + &text(&bad.stdout);
    assert_eq!(bad.status.code(), Some(1), "{said}");
    for problem in PROBLEMS {
        assert!(said.lines().any(|line| line.starts_with(problem)), "no {problem:?} in:\n{said}");
    }
    assert!(said.contains("listen"), "the nearest known key is named:\n{said}");
    assert!(said.contains("NOT_SET_ANYWHERE"), "the variable is named:\n{said}");
    let served = weir(&folder, &["serve", "-c", "bad.yaml"]);
    assert_eq!(served.status.code(), Some(1));
    assert!(PROBLEMS.iter().all(|problem| text(&served.stderr).contains(problem)));
    for args in [["check", "-c", "missing.yaml"], ["serve", "-c", "missing.yaml"]] {
        let missing = weir(&folder, &args);
        assert_eq!(missing.status.code(), Some(1));
        assert!(text(&missing.stderr).contains("missing.yaml"), "{}", text(&missing.stderr));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn check_finds_a_log_that_serve_could_not_open_and_makes_none() {
    let folder = new_folder();
    fs::create_dir(folder.join("logs")).unwrap();
    for (log, good) in [("./logs", false), ("./none/a.log", false), ("./logs/a.log", true)] {
        fs::write(folder.join("weir.yaml"), format!("{GOOD}log: {{access: {log}}}\n")).unwrap();
        let check = weir(&folder, &["check", "-c", "weir.yaml"]);
        let said = text(&check.stderr);
        assert_eq!((check.status.success(), said.contains("log.access")), (good, !good), "{said}");
    }
    assert!(!folder.join("logs/a.log").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_usual_answers_of_a_command_line() {
    let folder = new_folder();
    let version = weir(&folder, &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout).trim(), concat!("weir ", env!("CARGO_PKG_VERSION")));
    for args in [&["help"][..], &["--help"], &["serve", "--help"]] {
        let help = weir(&folder, args);
        assert_eq!(
            (help.status.code(), text(&help.stdout).contains("Usage")),
            (Some(0), true),
            "{args:?}"
        );
    }
    for args in [&["serfe"][..], &["serve", "--nonsense"], &["key"]] {
        let unknown = weir(&folder, args);
        assert_eq!(unknown.status.code(), Some(2), "{args:?}");
        assert!(text(&unknown.stderr).contains("Usage"), "{args:?}: {}", text(&unknown.stderr));
    }
    assert!(
        text(&weir(&folder, &["serfe"]).stderr).contains("serve"),
        "the nearest command is named"
    );
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_new_key_opens_by_itself_and_by_its_hash() {
    let folder = new_folder();
    let fresh = || {
        let output = weir(&folder, &["key", "new"]);
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output.stdout);
        let mut lines = said.lines().map(str::to_owned);
        (lines.next().unwrap(), lines.next().unwrap())
    };
    let ((key, hash), (other, _)) = (fresh(), fresh());
    assert!(key != other && key.len() >= 40 && hash.starts_with("sha256:"), "{key} {hash}");
    let up = mock("up").await;
    let yaml =
        format!("providers:\n{}models: [{{id: m, provider: up}}]\n", openai("up", up.addr, ""));
    let auth = format!("{{agent_keys: ['{hash}']}}");
    let gateway = Setup::new(yaml).auth(&auth).start().await;
    assert_eq!(gateway.ask(Ask::chat("m", false).bearer(&key)).await.status, 200);
    assert_eq!(gateway.ask(Ask::chat("m", false).bearer(&other)).await.status, 401);
    assert_eq!(
        gateway.ask(Ask::chat("m", false).bearer(&hash)).await.status,
        401,
        "a hash is no key"
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_port_in_use_ends_the_start_with_its_reason() {
    let folder = new_folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    for (listen, admin) in [(taken.0, free_port()), (free_port(), taken.0)] {
        let yaml = format!("server: {{listen: '{listen}', admin: '{admin}'}}\n{GOOD}");
        fs::write(folder.join("weir.yaml"), yaml).unwrap();
        let output = weir(&folder, &["serve", "-c", "weir.yaml"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains(&taken.0.to_string()) && said.contains("in use"), "{said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn too_few_open_files_are_told_and_a_soft_limit_is_none() {
    let folder = new_folder();
    fs::write(folder.join("weir.yaml"), format!("server: {{connections_max: 500}}\n{GOOD}"))
        .unwrap();
    let checked = |limits: &str| {
        let run =
            format!("ulimit {limits} && exec '{}' check -c weir.yaml", env!("CARGO_BIN_EXE_weir"));
        let output = Command::new("sh").args(["-c", &run]).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = checked("-n 300");
    assert!(said.contains("warning: server.connections_max: ") && said.contains("1128"), "{said}");
    let said = checked("-Sn 300");
    assert!(!said.contains("connections_max"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_output_that_takes_no_more_is_a_failure() {
    let folder = new_folder();
    fs::write(folder.join("weir.yaml"), GOOD).unwrap();
    for args in [&["key", "new"][..], &["check", "-c", "weir.yaml"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let output = command.args(args).current_dir(&folder).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("standard output"), "{}", text(&output.stderr));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_configuration_is_found_as_documented() {
    let folder = new_folder();
    fs::create_dir_all(folder.join("conf")).unwrap();
    fs::write(folder.join("other.yaml"), GOOD).unwrap();
    let run = |key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .arg("check")
            .current_dir(&folder)
            .env_remove("WEIR_CONFIG")
            .env_remove("CONFIG_PATH");
        if !key.is_empty() {
            command.env(key, "other.yaml");
        }
        command.output().unwrap()
    };
    assert_eq!(run("").status.code(), Some(1));
    for key in ["WEIR_CONFIG", "CONFIG_PATH"] {
        assert_eq!(run(key).status.code(), Some(0), "{key}");
    }
    // One that is empty says nothing.
    let mut silent = Command::new(env!("CARGO_BIN_EXE_weir"));
    silent.arg("check").current_dir(&folder).env("WEIR_CONFIG", "");
    let output = silent.env("CONFIG_PATH", "other.yaml").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = silent.env("CONFIG_PATH", "").output().unwrap();
    assert!(text(&output.stderr).contains("conf/weir.yaml"), "{}", text(&output.stderr));
    // `.env` beside the file fills in, the environment wins.
    let with_key = GOOD.replace("api_key: k", "api_key: '${IT_ONLY_HERE}'");
    fs::write(folder.join("conf/weir.yaml"), with_key).unwrap();
    assert_eq!(run("").status.code(), Some(1));
    fs::write(folder.join("conf/.env"), "IT_ONLY_HERE=secret-of-the-file\n").unwrap();
    let output = run("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_example_configurations_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = weir(folder, &["check", "-c", "conf/weir.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// The addresses and keys in what the demonstration prints.
fn word_after<'a>(said: &'a str, before: &str) -> &'a str {
    let rest = said.split_once(before).unwrap_or_else(|| panic!("no {before:?} in:\n{said}")).1;
    rest.split([' ', '/', '\'', '\n']).next().unwrap()
}

#[tokio::test]
async fn the_demonstration_starts_shows_and_stays() {
    let folder = new_folder();
    let out = fs::File::create(folder.join("out")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("demo")
        .current_dir(&folder)
        .env("TMPDIR", &folder)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(folder.join("out")).unwrap();
    wait_until("the demonstration is over", || async { said().contains("Ctrl-C") }).await;
    let said = said();
    for part in [
        "curl http://",
        "switched",
        "404",
        "/metrics",
        "model swift",
        "gateway_notice",
        "nothing is left: 402",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let data = word_after(&said, "data plane  http://").parse().unwrap();
    let admin = word_after(&said, "admin port  http://").parse().unwrap();
    let (key, admin_key) = (
        word_after(&said, "authorization: Bearer ").to_owned(),
        said.rsplit("Bearer ").next().unwrap(),
    );
    let admin_key = admin_key.split('\'').next().unwrap();
    let chat = Ask::chat("auto", true).bearer(&key);
    let answer = Line::open(data).await.unwrap().ask(&chat).await.unwrap();
    assert!(
        answer.status == 200 && answer.text().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.text()
    );
    let reload = Ask::new("POST", "/api/reload").bearer(admin_key);
    assert_eq!(Line::open(admin).await.unwrap().ask(&reload).await.unwrap().status, 200);
    assert!(child.try_wait().unwrap().is_none(), "it does not stay up");
    let line = format!("kill -s INT {}", child.id());
    assert!(Command::new("sh").arg("-c").arg(line).status().unwrap().success());
    let until = tokio::time::Instant::now() + SOON;
    let mut code = None;
    while code.is_none() && tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        code = child.try_wait().unwrap();
    }
    if code.is_none() {
        child.kill().unwrap();
    }
    assert_eq!(code.and_then(|code| code.code()), Some(0), "it does not end at SIGINT");
    let left = fs::read_dir(&folder).unwrap().flatten().filter(|entry| entry.file_name() != "out");
    assert_eq!(left.count(), 0, "it leaves files behind");
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn keys_of_another_kind_open_nothing_more() {
    let up = mock("up").await;
    let yaml =
        format!("providers:\n{}models: [{{id: m, provider: up}}]\n", openai("up", up.addr, ""));
    let gateway = Setup::new(yaml.clone()).start().await;
    assert_eq!(gateway.ask(Ask::chat("m", false).bearer(ADMIN_KEY)).await.status, 200);
    assert_eq!(gateway.ask(Ask::chat("m", false).bearer(AGENT_KEY)).await.status, 200);
    let open = Setup::new(yaml).auth("{require_agent_key: false}").start().await;
    assert_eq!(open.ask(Ask::chat("m", false).without("authorization")).await.status, 200);
    assert!(open.said().contains("agent_keys"), "a warning: {}", open.said());
}

#[tokio::test]
async fn names_of_earlier_systems_are_honoured_where_the_file_is_silent() {
    let folder = new_folder();
    let (data, admin) = (free_port(), free_port());
    let sock = folder.join("up.sock");
    let yaml = format!(
        "server: {{admin: '{admin}', upgrade_sock: '{}'}}\nlog: {{access: off}}\n{GOOD}",
        sock.display()
    );
    fs::write(folder.join("weir.yaml"), yaml).unwrap();
    let command = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        for other in ["ADAPTER_HOST", "ADAPTER_PORT", "HOST", "ORCHESTRATOR_PORT"] {
            command.env_remove(other);
        }
        command.args([name, "-c", "weir.yaml"]).current_dir(&folder).stdin(Stdio::null());
        command
    };
    let bad = command("check").env("PORT", "eighty").env("RETRY_STATUS_CODES", "5xx").output();
    let bad = bad.unwrap();
    assert_eq!(bad.status.code(), Some(1));
    for line in [
        "environment variable PORT: server.listen: ",
        "environment variable RETRY_STATUS_CODES: routing.retry_statuses[0]: ",
    ] {
        let said = text(&bad.stderr);
        assert!(said.lines().any(|said| said.starts_with(line)), "no {line:?} in:\n{said}");
    }
    // From `.env` too, as S4 had it.
    let port = data.port().to_string();
    fs::write(folder.join(".env"), "ROUTER_AGENT_KEY=it-key-of-the-environment\n").unwrap();
    let good = command("check").env("PORT", &port).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    for key in ["server.listen: taken from", "auth.agent_keys: taken from"] {
        assert!(text(&good.stdout).contains(key), "{}", text(&good.stdout));
    }
    assert!(!text(&good.stdout).contains("it-key-of-the-environment"));
    let mut child = command("serve").env("PORT", &port).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it listens there", || async { Line::open(data).await.is_ok() }).await;
    let mut statuses = Vec::new();
    for key in ["it-key-of-the-environment", AGENT_KEY] {
        let ask = Ask::get("/v1/models").bearer(key);
        statuses.push(Line::open(data).await.unwrap().ask(&ask).await.map(|answer| answer.status));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(statuses[..], [Ok(200), Ok(401)]), "{statuses:?}");
    fs::remove_dir_all(&folder).unwrap();
}
