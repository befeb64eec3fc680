//! `weir init` and `weir import`: what they write works, and nothing is overwritten.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::client::{Answer, Ask, Line};
use crate::gateway::{free_port, new_folder, wait_until};
use crate::provider::mock;

/// Names that would go before what is written here.
const IN_THE_WAY: [&str; 14] = [
    "WEIR_CONFIG",
    "CONFIG_PATH",
    "WEIR_ADMIN_KEY",
    "WEIR_AGENT_KEY",
    "WEIR_KMS_KEY",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "OPENROUTER_API_KEY",
    "PROVIDER_API_KEY",
    "ADAPTER_HOST",
    "ADAPTER_PORT",
    "HOST",
    "PORT",
    "ORCHESTRATOR_PORT",
];

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for name in IN_THE_WAY {
        command.env_remove(name);
    }
    command.args(args).current_dir(folder).env("NO_COLOR", "1");
    command
}

fn weir(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).stdin(Stdio::null()).output().unwrap()
}

/// The same with these lines typed.
fn typed(folder: &Path, args: &[&str], lines: &str) -> Output {
    let mut command = command(folder, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that ends early closes its input.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn value_of(env: &str, name: &str) -> String {
    let line = env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='"));
    line.and_then(|line| line.strip_suffix('\'')).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[test]
fn a_script_gets_a_configuration_that_is_good() {
    for (variable, provider) in [
        ("", "http://127.0.0.1:11434/v1"),
        ("OPENAI_API_KEY", "https://api.openai.com/v1"),
        ("ANTHROPIC_API_KEY", "https://api.anthropic.com"),
        ("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    ] {
        let folder = new_folder();
        let mut init = command(&folder, &["init", "--yes"]);
        if !variable.is_empty() {
            init.env(variable, "sk-of-the-environment");
        }
        let init = init.stdin(Stdio::null()).output().unwrap();
        assert_eq!(init.status.code(), Some(0), "{}", text(&init.stderr));
        assert_eq!(names(&folder), [".env", "weir.yaml"]);
        let mode = fs::metadata(folder.join(".env")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let yaml = fs::read_to_string(folder.join("weir.yaml")).unwrap();
        let env = fs::read_to_string(folder.join(".env")).unwrap();
        assert!(yaml.contains(provider) && !yaml.contains("sk-of-the-environment"), "{yaml}");
        assert_eq!(variable.is_empty(), !env.contains("sk-of-the-environment"));
        let said = text(&init.stdout);
        for part in [&value_of(&env, "WEIR_AGENT_KEY"), "weir serve -c weir.yaml", "curl http://"] {
            assert!(said.contains(part), "no {part:?} in:\n{said}");
        }
        assert!(!said.contains(&value_of(&env, "WEIR_ADMIN_KEY")));
        let check = weir(&folder, &["check", "-c", "weir.yaml"]);
        assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
        // How many files may be open is this machine's matter.
        let is_told = |line: &str| line.contains("warning") && !line.contains("connections_max");
        let said = text(&check.stdout);
        assert!(!said.lines().any(is_told), "{said}");
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn two_scripts_get_different_keys() {
    let keys = [(), ()].map(|()| {
        let folder = new_folder();
        assert_eq!(weir(&folder, &["init", "--yes"]).status.code(), Some(0));
        let env = fs::read_to_string(folder.join(".env")).unwrap();
        fs::remove_dir_all(folder).unwrap();
        ["WEIR_ADMIN_KEY", "WEIR_AGENT_KEY", "WEIR_KMS_KEY"].map(|name| value_of(&env, name))
    });
    let mut all = keys.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn nothing_is_overwritten_unless_it_is_wanted() {
    for in_the_way in ["weir.yaml", ".env"] {
        let folder = new_folder();
        fs::write(folder.join(in_the_way), "mine").unwrap();
        for answers in [&["init", "--yes"][..], &["init"]] {
            let refused = typed(&folder, answers, "openai\nsk-1\n\n\n\n");
            assert_eq!(refused.status.code(), Some(1));
            assert!(text(&refused.stderr).contains(in_the_way), "{}", text(&refused.stderr));
            assert!(text(&refused.stdout).is_empty(), "nobody was asked for nothing");
        }
        assert_eq!(names(&folder), [in_the_way]);
        assert_eq!(fs::read_to_string(folder.join(in_the_way)).unwrap(), "mine");
        let forced = weir(&folder, &["init", "--yes", "--force"]);
        assert_eq!(forced.status.code(), Some(0), "{}", text(&forced.stderr));
        assert_eq!(names(&folder), [".env", "weir.yaml"]);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn what_others_keep_in_the_environment_file_stays() {
    let folder = new_folder();
    let env = folder.join(".env");
    let there = "# mine\nDATABASE_URL='a b'\nWEIR_KMS_KEY='old'\nexport OTHER=1\n";
    fs::write(&env, there).unwrap();
    for _ in 0..2 {
        let forced = weir(&folder, &["init", "--yes", "--force"]);
        assert_eq!(forced.status.code(), Some(0), "{}", text(&forced.stderr));
        let now = fs::read_to_string(&env).unwrap();
        for kept in ["# mine\n", "DATABASE_URL='a b'\n", "export OTHER=1\n"] {
            assert_eq!(now.matches(kept).count(), 1, "{now}");
        }
        assert_eq!(now.matches("WEIR_KMS_KEY=").count(), 1, "{now}");
        assert_ne!(value_of(&now, "WEIR_KMS_KEY"), "old");
        assert_eq!(weir(&folder, &["check", "-c", "weir.yaml"]).status.code(), Some(0));
    }
    // What nobody can read is kept out of the way of the rest.
    fs::write(&env, "A=1\nB='never ends\nC=2\n").unwrap();
    assert_eq!(weir(&folder, &["init", "--yes", "--force"]).status.code(), Some(0));
    let now = fs::read_to_string(&env).unwrap();
    assert!(now.starts_with("A=1\n# B='never ends\nC=2\n"), "{now}");
    assert_eq!(weir(&folder, &["check", "-c", "weir.yaml"]).status.code(), Some(0));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_end_of_the_answers_writes_nothing() {
    for lines in ["", "openai\n", "nonsense\nopenai\nsk-1\nci\n"] {
        let folder = new_folder();
        let ended = typed(&folder, &["init"], lines);
        assert_eq!(ended.status.code(), Some(1));
        assert!(text(&ended.stderr).contains("nothing was written"), "{}", text(&ended.stderr));
        assert_eq!(names(&folder), Vec::<String>::new());
        fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_serves() {
    let folder = new_folder();
    let up = mock("up").await;
    // A bad answer on the way is asked again.
    let lines = format!("compatible\nnowhere\nhttp://{}/v1\nm-1\n\nci\n2.50\ndaily\n", up.addr);
    let init = typed(&folder, &["init", "-o", "own.yaml"], &lines);
    assert_eq!(init.status.code(), Some(0), "{}", text(&init.stderr));
    assert!(text(&init.stdout).contains("is not a URL"), "{}", text(&init.stdout));
    let yaml = fs::read_to_string(folder.join("own.yaml")).unwrap();
    let own_ports = ["listen: [\"127.0.0.1:8080\"]", "admin: \"127.0.0.1:9090\""];
    assert!(own_ports.iter().all(|ports| yaml.contains(ports)), "{yaml}");
    let yaml =
        own_ports.iter().fold(yaml.replace("server:\n", ""), |yaml, own| yaml.replace(own, ""));
    let env = fs::read_to_string(folder.join(".env")).unwrap();
    let served = Served::start(&folder, "own.yaml", &yaml).await;
    let key = value_of(&env, "WEIR_AGENT_KEY");
    for (model, key, status) in [
        ("m-1", &*key, 200),
        ("another", &key, 200),
        ("auto", &key, 200),
        ("m-1", "no-such-key-at-all", 401),
    ] {
        let answer = served.ask(Ask::chat(model, false).bearer(key)).await;
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
        assert_eq!(answer.has("x-gateway-budget-remaining-usd"), status == 200);
    }
}

/// A gateway with a file that somebody else wrote, but for its ports.
struct Served {
    child: Child,
    folder: PathBuf,
    data: SocketAddr,
}

impl Served {
    async fn start(folder: &Path, name: &str, yaml: &str) -> Self {
        let (data, admin) = (free_port(), free_port());
        let sock = folder.join("up.sock");
        let ports = format!(
            "server: {{listen: '{data}', admin: '{admin}', upgrade_sock: '{}'}}\n",
            sock.display()
        );
        fs::write(folder.join(name), ports + yaml).unwrap();
        let mut start = command(folder, &["serve", "-c", name]);
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = start.spawn().unwrap();
        let served = Self { child, folder: folder.to_owned(), data };
        wait_until("it listens there", || async { Line::open(data).await.is_ok() }).await;
        served
    }

    async fn ask(&self, ask: Ask) -> Answer {
        Line::open(self.data).await.unwrap().ask(&ask).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn an_imported_policy_caps_as_it_did() {
    let folder = new_folder();
    let up = mock("up").await;
    let policy = format!(
        "cost_routing:\n  openrouter: {{base_url: 'http://{}/v1', api_key: '${{UP_KEY}}'}}\n  agents:\n    default:\n      \
         budget_total: 0.5\n      tiers: [{{threshold: 0.5, models: [mock-cost=0.2]}}, {{threshold: 0, models: [mock-cost=0.05]}}]\n",
        up.addr
    );
    fs::write(folder.join("policy.yaml"), policy).unwrap();
    fs::write(folder.join(".env"), "UP_KEY=sk-up\n").unwrap();
    let imported = weir(&folder, &["import", "policy.yaml"]);
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    let served = Served::start(&folder, "weir.yaml", &text(&imported.stdout)).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let answer = served.ask(Ask::chat("whatever", false).without("authorization")).await;
        seen.push((answer.status, answer.json()["_execwall"]["cost"].as_f64()));
    }
    // Sixty percent left, then twenty: the tier changes. What the provider says is what is booked, and with
    // nothing left the answer is 402 (S0-08, S0-09, S0-11, S0-12).
    let expected =
        [(200, Some(0.2)), (200, Some(0.2)), (200, Some(0.05)), (200, Some(0.05)), (402, None)];
    assert_eq!(seen, expected);
}

/// The file of each system, and what must be told about it.
const SEEDS: [(&str, &str, &[&str]); 3] = [
    ("policy.yaml", "Execwall", &["cost_routing.spend_log: ", "rules: ", "  OPENROUTER_API_KEY"]),
    (
        "routes.yml",
        "openclaw-autoproxy",
        &[
            "retryStatusCodes[6]: ",
            "DEFAULT_API_KEY: the key that stands in clear at defaults.apiKey",
        ],
    ),
    ("config.yaml", "optmod", &["router: ", "perf_router_cost_weight: ", "  DEEPSEEK_API_KEY"]),
];

fn seed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/seeds");
    folder.join(name).display().to_string()
}

#[test]
fn files_of_three_systems_come_along() {
    for (file, system, told) in SEEDS {
        let folder = new_folder();
        let import = weir(&folder, &["import", &seed(file), "-o", "weir.yaml"]);
        let said = text(&import.stderr);
        assert_eq!(import.status.code(), Some(0), "{said}");
        assert!(said.contains(system) && !said.contains("literal-key"), "{said}");
        for part in told {
            assert!(said.lines().any(|line| line.contains(part)), "no {part:?} in:\n{said}");
        }
        assert_eq!(names(&folder), ["weir.yaml"]);
        // The variables that are told are all that it needs.
        let needed = said.split("needed in the environment").nth(1).unwrap();
        let names = needed.lines().skip(1).filter_map(|line| line.strip_prefix("  "));
        let names = names.map(|line| line.split(':').next().unwrap());
        let lines: Vec<String> = names.map(|name| format!("{name}='it-is-set'")).collect();
        fs::write(folder.join(".env"), lines.join("\n")).unwrap();
        let check = weir(&folder, &["check", "-c", "weir.yaml"]);
        assert_eq!(check.status.code(), Some(0), "{}{said}", text(&check.stderr));
        let printed = weir(&folder, &["import", &seed(file)]);
        let yaml = fs::read_to_string(folder.join("weir.yaml")).unwrap();
        assert_eq!(text(&printed.stdout), yaml);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn an_import_overwrites_nothing_and_names_what_it_cannot_read() {
    let folder = new_folder();
    fs::write(folder.join("weir.yaml"), "mine").unwrap();
    let routes = seed("routes.yml");
    let args = ["import", &routes, "-o", "weir.yaml", "--force"];
    let refused = weir(&folder, &args[..4]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("weir.yaml"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_to_string(folder.join("weir.yaml")).unwrap(), "mine");
    assert_eq!(weir(&folder, &args).status.code(), Some(0));
    let own = fs::read_to_string(&routes).unwrap();
    fs::write(folder.join("own.yml"), &own).unwrap();
    let refused = weir(&folder, &["import", "own.yml", "-o", "./own.yml", "--force"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("own.yml is the file"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_to_string(folder.join("own.yml")).unwrap(), own);
    fs::write(folder.join("bad.yml"), "routes: [{url: 'http://a', model: [m, m2]}, {model: x}]")
        .unwrap();
    fs::write(folder.join("other.yaml"), "services: {}").unwrap();
    for (file, said) in [
        ("bad.yml", "routes[1].url: is missing"),
        ("other.yaml", "cost_routing"),
        ("none.yaml", "none.yaml: "),
    ] {
        let refused = weir(&folder, &["import", file, "-o", "new.yaml"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(said), "{file}: {}", text(&refused.stderr));
        assert!(!folder.join("new.yaml").exists());
    }
    fs::remove_dir_all(folder).unwrap();
}
