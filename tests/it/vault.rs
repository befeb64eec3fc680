//! What operators keep beside the ledger: the audit of requests, the keys of credentials at the start, and a
//! rotation under a running gateway.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use loadtest::upstream::seen::sha256_hex;
use weir::identity::vault::{self, Key, Keys};
use weir::store::registry::{self, Page, Profile, Registry, RequestRow, Sealed};
use weir::store::sqlite::registry::SqliteRegistry;
use weir::upstream::kind::ProviderKind;

use crate::client::{Ask, chat_body};
use crate::gateway::{ADMIN_KEY, SOON, Setup, free_port, new_folder, wait_until};
use crate::provider::{anthropic, mock, openai};

const MARKER: &str = "sk-MARKER-it-0123456789";
const FORMER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "//////////////////////////////////////////8=";

fn key(text: &str) -> Key {
    Key::from_base64(text).ok().unwrap()
}

fn open(folder: &Path) -> SqliteRegistry {
    SqliteRegistry::open(&folder.join("weir.db")).unwrap()
}

fn audited(folder: &Path) -> Vec<RequestRow> {
    open(folder).requests(Page { after: 0, limit: 100 }).unwrap()
}

/// A profile whose credential the former key has sealed.
fn add_profile(folder: &Path) {
    let id = "0f".repeat(16);
    let credential = vault::seal(&key(FORMER), [1; 12], &id, MARKER.as_bytes()).unwrap();
    let profile = Profile {
        id,
        name: "main".to_owned(),
        kind: ProviderKind::OpenAi,
        base_url: "https://api.openai.com/v1".to_owned(),
        credential: Sealed(credential),
        key_id: key(FORMER).id(),
        created_ms: 1_700_000_000_000,
    };
    open(folder).add_profile(&profile).unwrap();
}

fn opens_with(folder: &Path, text: &str) -> bool {
    registry::check_keys(&open(folder), Some(&Keys::new(key(text), vec![]))).is_ok()
}

/// Runs the program in that folder to its end.
fn weir(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .current_dir(folder)
        .env_remove("WEIR_CONFIG")
        .env_remove("CONFIG_PATH")
        .env_remove("WEIR_KMS_KEY")
        .env_remove("ROUTER_KMS_KEY")
        .env("NEW_KEY", NEW)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A folder with a configuration that names those keys, and a profile in its store.
fn folder_with(profiles: &str) -> PathBuf {
    let folder = new_folder();
    let text = format!(
        "server: {{listen: '127.0.0.1:{}', admin: '127.0.0.1:{}'}}\nprofiles: {profiles}\n\
         providers: {{p: {{dialect: openai, base_url: 'http://127.0.0.1:9/v1'}}}}\n\
         models: [{{id: m, provider: p}}]\n",
        free_port().port(),
        free_port().port()
    );
    fs::write(folder.join("weir.yaml"), text).unwrap();
    add_profile(&folder);
    folder
}

#[tokio::test]
async fn requests_are_audited_by_their_hash_alone() {
    let (a, c) = (mock("a").await, mock("c").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: one, provider: a}}\n  - {{id: two, provider: c}}\n",
        openai("a", a.addr, ""),
        anthropic("c", c.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let chat = gateway.ask(Ask::post("/v1/chat/completions", chat_body("one", false))).await;
    let stream = gateway.ask(Ask::messages("two", true)).await;
    let refused = gateway.ask(Ask::chat("nothing", false)).await;
    assert_eq!((chat.status, stream.status, refused.status), (200, 200, 404));
    wait_until("the audit", || async { audited(&gateway.folder).len() == 2 }).await;
    let rows = audited(&gateway.folder);
    let found: Vec<_> = rows
        .iter()
        .map(|row| (&*row.provider, &*row.model, &*row.surface, row.status, &*row.agent))
        .collect();
    let expected = [("a", "one", "chat", 200, "default"), ("c", "two", "messages", 200, "default")];
    assert_eq!(found, expected);
    assert_eq!(rows[0].request_id, chat.header("x-gateway-request-id"));
    let messages = br#"[{"role":"user","content":"hello"}]"#;
    let digest = rows[0].prompt_sha256.unwrap();
    let hash = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hash, sha256_hex(messages));
    let status = gateway.ask_admin(Ask::get("/status").bearer(ADMIN_KEY)).await.json();
    assert_eq!(status["checks"]["audit"]["ok"], true);
    assert_eq!(gateway.metric("weir_audit_dropped_total", &[]).await, 0);
}

#[tokio::test]
async fn an_audit_that_is_off_keeps_nothing_and_the_end_loses_nothing() {
    let a = mock("a").await;
    let yaml = |audit: &str| {
        let provider = openai("a", a.addr, "");
        format!("providers:\n{provider}models:\n  - {{id: one, provider: a}}\naudit: {audit}\n")
    };
    let quiet = Setup::new(yaml("{requests: off}")).start().await;
    assert_eq!(quiet.ask(Ask::chat("one", false)).await.status, 200);
    let loud = Setup::new(yaml("{requests: all}")).start().await;
    assert_eq!(loud.ask(Ask::chat("one", false)).await.status, 200);
    for (mut gateway, rows) in [(quiet, 0), (loud, 1)] {
        gateway.signal("TERM");
        assert_eq!(gateway.exit_code(SOON).await, Some(0));
        assert_eq!(audited(&gateway.folder).len(), rows);
    }
}

#[test]
fn a_wrong_key_or_none_is_a_reason_not_to_start() {
    for (profiles, fragment) in [
        ("{}", "no key that opens"),
        (&*format!("{{kms_key: '{NEW}'}}"), "profile main does not open"),
    ] {
        let folder = folder_with(profiles);
        let output = weir(&folder, &["serve", "-c", "weir.yaml"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(fragment), "{said}");
        assert!(!said.contains(MARKER) && !said.contains(NEW), "{said}");
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_key_is_rotated_while_no_gateway_runs() {
    let folder = folder_with(&format!("{{kms_key: '{FORMER}'}}"));
    let rotate = |args: &[&str]| {
        let all = [&["profiles", "rotate-key", "-c", "weir.yaml"], args].concat();
        let output = weir(&folder, &all);
        (output.status.code(), said(&output))
    };
    fs::write(folder.join("short.key"), "AAEC").unwrap();
    let (code, text) = rotate(&["--new-key-file", "short.key"]);
    assert!(code == Some(1) && text.contains("short.key has 3 bytes"), "{text}");
    let (code, text) = rotate(&["--new-key-env", "NOT_SET"]);
    assert!(code == Some(1) && text.contains("NOT_SET"), "{text}");
    assert_eq!(rotate(&[]).0, Some(2));
    assert!(opens_with(&folder, FORMER));
    let (code, text) = rotate(&["--new-key-env", "NEW_KEY"]);
    assert!(code == Some(0) && text.contains("1 credentials are sealed"), "{text}");
    assert!(text.contains("name this one in profiles.kms_key") && !text.contains(NEW), "{text}");
    assert!(opens_with(&folder, NEW) && !opens_with(&folder, FORMER));
    fs::write(folder.join("new.key"), format!("{NEW}\n")).unwrap();
    assert_eq!(rotate(&["--new-key-file", "new.key"]).0, Some(0), "again does no harm");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_key_is_rotated_while_the_gateway_runs() {
    let a = mock("a").await;
    let yaml = |profiles: &str| {
        let provider = openai("a", a.addr, "");
        format!(
            "providers:\n{provider}models:\n  - {{id: one, provider: a}}\nprofiles: {profiles}\n"
        )
    };
    let mut gateway = Setup::new(yaml(&format!("{{kms_key: '{FORMER}'}}"))).start().await;
    add_profile(&gateway.folder);
    let folder = gateway.folder.clone();
    let rotate = || {
        let args = ["profiles", "rotate-key", "-c", "weir.yaml", "--new-key-env", "NEW_KEY"];
        let output = weir(&folder, &args);
        (output.status.code(), said(&output))
    };
    let (code, text) = rotate();
    assert!(code == Some(1) && text.contains("reload, and try"), "{text}");
    assert!(opens_with(&gateway.folder, FORMER));
    gateway.write(&yaml(&format!("{{kms_key: '{NEW}', kms_keys_old: ['{FORMER}']}}")));
    assert_eq!(gateway.reload().await.status, 200);
    let (code, text) = rotate();
    assert_eq!(code, Some(0), "{text}");
    assert!(opens_with(&gateway.folder, NEW));
    gateway.write(&yaml(&format!("{{kms_key: '{NEW}'}}")));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(gateway.ask(Ask::chat("one", false)).await.status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
    let again = gateway.started_again().await;
    assert!(!again.said().contains(MARKER));
    for file in fs::read_dir(&again.folder).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap_or_default();
        assert!(memchr::memmem::find(&bytes, MARKER.as_bytes()).is_none());
    }
}
