//! The gateway under test: the real binary with a configuration of its own, in a folder of its own, on
//! ports that were free.
//!
//! A test says only what matters to it; listeners, keys, log and hand-over socket are filled in. Dropping a
//! [`Gateway`] ends its process. It judges nothing.

use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Answer, Ask, Line};

/// A key that may speak for any agent.
pub const AGENT_KEY: &str = "it-agent-key-0123456789";
/// A key of the control API.
pub const ADMIN_KEY: &str = "it-admin-key-0123456789";
/// The longest wait for something that should happen at once. Machines under load are slow, not wrong.
pub const SOON: Duration = Duration::from_secs(20);
/// The pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);
/// Ports may be taken by somebody else between the look and the start.
const STARTS_MAX: usize = 4;
/// Where ports are looked for: above those of well-known services, below those that systems hand out to whoever
/// asks for any (Linux 32768, others 49152) and to every outgoing connection.
const PORTS: Range<u16> = 12_000..32_000;

static FOLDERS: AtomicU32 = AtomicU32::new(0);
static PORTS_NAMED: AtomicU32 = AtomicU32::new(0);

/// What to start.
#[derive(Clone)]
pub struct Setup {
    yaml: String,
    server: String,
    auth: String,
    args: Vec<String>,
    env: Vec<(&'static str, OsString)>,
    /// What starts the process, and its arguments before those of `args`.
    program: (OsString, Vec<OsString>),
}

/// A running gateway.
pub struct Gateway {
    /// Where clients go.
    pub data: SocketAddr,
    /// Where administrators go.
    pub admin: SocketAddr,
    /// Its folder: configuration, logs, hand-over socket.
    pub folder: PathBuf,
    child: Child,
    setup: Setup,
    status: Option<ExitStatus>,
    owns_folder: bool,
}

impl Setup {
    /// A configuration without `server`, `auth` and `log`.
    pub fn new(yaml: impl Into<String>) -> Self {
        let auth = format!("{{agent_keys: ['{AGENT_KEY}'], admin_keys: ['{ADMIN_KEY}']}}");
        let program = (env!("CARGO_BIN_EXE_weir").into(), vec!["serve".into()]);
        let (yaml, server, args, env) = (yaml.into(), String::new(), Vec::new(), Vec::new());
        Self { yaml, server, auth, args, env, program }
    }

    /// Starts it by another program, which must become `weir serve`.
    #[must_use]
    pub fn program(mut self, program: impl Into<OsString>, args: &[&str]) -> Self {
        self.program = (program.into(), args.iter().map(OsString::from).collect());
        self
    }

    /// Adds keys of `server`, in flow style: `body_bytes_max: 65536`.
    #[must_use]
    pub fn server(mut self, keys: &str) -> Self {
        self.server = format!("{}, {keys}", self.server);
        self
    }

    /// Replaces `auth`, in flow style with braces.
    #[must_use]
    pub fn auth(mut self, auth: &str) -> Self {
        auth.clone_into(&mut self.auth);
        self
    }

    /// Adds an argument of `weir serve`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Starts it and waits until it takes requests.
    pub async fn start(self) -> Gateway {
        let mut refusal = String::new();
        for _ in 0..STARTS_MAX {
            // A gateway that did not start has taken its folder with it.
            let folder = new_folder();
            let (data, admin) = (free_port(), free_port());
            write_config(&folder, &self.text(&folder, data, admin));
            match self.clone().spawn((folder, true), data, admin).ready().await {
                Ok(gateway) => return gateway,
                Err(said) => refusal = said,
            }
        }
        panic!("weir does not start: {refusal}");
    }

    /// The whole configuration.
    fn text(&self, folder: &Path, data: SocketAddr, admin: SocketAddr) -> String {
        let (auth, server) = (&self.auth, &self.server);
        let (log, sock) = (folder.join("access.jsonl"), folder.join("up.sock"));
        format!(
            "server: {{listen: '{data}', admin: '{admin}', threads: 2, upgrade_sock: '{}'{server}}}\n\
             auth: {auth}\nlog: {{access: '{}'}}\n{}",
            sock.display(),
            log.display(),
            self.yaml
        )
    }

    fn spawn(
        self,
        (folder, owns): (PathBuf, bool),
        data: SocketAddr,
        admin: SocketAddr,
    ) -> Gateway {
        let out = |name| File::options().create(true).append(true).open(folder.join(name)).unwrap();
        let child = Command::new(&self.program.0)
            .args(&self.program.1)
            .arg("-c")
            .arg(folder.join("weir.yaml"))
            .args(&self.args)
            .env_remove("WEIR_CONFIG")
            .env("NO_COLOR", "1")
            .envs(self.env.iter().cloned())
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(out("out.log"))
            .stderr(out("err.log"))
            .spawn()
            .unwrap();
        let (setup, status) = (self, None);
        Gateway { data, admin, folder, child, setup, status, owns_folder: owns }
    }
}

impl Gateway {
    /// Waits until both listeners answer; what the process said if it ended instead.
    async fn ready(mut self) -> Result<Self, String> {
        let until = Instant::now() + SOON;
        while Instant::now() < until {
            if self.has_ended() {
                return Err(self.said());
            }
            if self.takes_requests().await && is_ready(self.admin).await {
                return Ok(self);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("not ready in time: {}", self.said()))
    }

    async fn takes_requests(&self) -> bool {
        if self.setup.server.contains("tls:") {
            return TcpStream::connect(self.data).await.is_ok();
        }
        is_ready(self.data).await
    }

    /// Everything that the process printed.
    pub fn said(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("out.log") + &read("err.log")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("weir.yaml")
    }

    /// Writes another configuration with the same listeners; nothing is reloaded by that.
    pub fn write(&self, yaml: &str) {
        let setup = Setup { yaml: yaml.to_owned(), ..self.setup.clone() };
        write_config(&self.folder, &setup.text(&self.folder, self.data, self.admin));
    }

    /// `POST /api/reload`.
    pub async fn reload(&self) -> Answer {
        self.ask_admin(Ask::new("POST", "/api/reload").bearer(ADMIN_KEY)).await
    }

    /// A second process for the same configuration, which takes the listeners over.
    pub fn upgrade(&self) -> Self {
        let setup = self.setup.clone().arg("--upgrade");
        setup.spawn((self.folder.clone(), false), self.data, self.admin)
    }

    /// Sends a signal to this process and no other.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -s {name} {}", self.pid());
        assert!(Command::new("sh").arg("-c").arg(line).status().unwrap().success());
    }

    /// Ends the process with no chance to do anything more, and starts another one with the same
    /// configuration in the same folder.
    pub async fn killed_and_started(mut self) -> Self {
        self.child.kill().unwrap();
        self.started_again().await
    }

    /// Starts the same once more, when this process has ended.
    pub async fn started_again(mut self) -> Self {
        self.child.wait().unwrap();
        self.status = Some(ExitStatus::default());
        self.owns_folder = false;
        let setup = self.setup.clone();
        let again = setup.spawn((self.folder.clone(), true), self.data, self.admin);
        again.ready().await.unwrap_or_else(|said| panic!("weir does not start again: {said}"))
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// Waits for the end of the process; its exit code.
    pub async fn exit_code(&mut self, bound: Duration) -> Option<i32> {
        let until = Instant::now() + bound;
        while !self.has_ended() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        self.status.and_then(|status| status.code())
    }

    /// One request over a connection of its own.
    pub async fn ask(&self, ask: Ask) -> Answer {
        Line::open(self.data).await.unwrap().ask(&ask).await.unwrap()
    }

    /// A request to the control API.
    pub async fn ask_admin(&self, ask: Ask) -> Answer {
        Line::open(self.admin).await.unwrap().ask(&ask).await.unwrap()
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        let answer = self.ask_admin(Ask::new("GET", "/metrics")).await;
        assert_eq!(answer.status, 200);
        answer.text()
    }

    /// The metrics page once so many requests have been recorded: a client has its answer a moment before
    /// that.
    pub async fn metrics_after(&self, requests: usize) -> String {
        self.lines_when(requests).await;
        self.metrics().await
    }

    /// The sum of the series of that name whose labels hold all of `labels` (`status="200"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        sum_of(&self.metrics().await, name, labels)
    }

    /// The lines of the access log so far, without those of answered health checks.
    pub fn lines(&self) -> Vec<Value> {
        let all = self.all_lines().into_iter();
        all.filter(|line| !(line["surface"].is_null() && line["status"] == 200)).collect()
    }

    /// Every line of the access log so far.
    pub fn all_lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("access.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Waits for the access log's line of that answer.
    pub async fn line_of(&self, answer: &Answer) -> Value {
        let id = answer.header("x-gateway-request-id").to_owned();
        self.line_with(move |line| line["request_id"] == *id).await
    }

    /// Waits for a line of the access log.
    pub async fn line_with(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + SOON;
        loop {
            if let Some(line) = self.lines().into_iter().find(|line| wanted(line)) {
                return line;
            }
            assert!(Instant::now() < until, "no such line: {:#?}", self.lines());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the access log has so many lines, and returns them all.
    pub async fn lines_when(&self, count: usize) -> Vec<Value> {
        wait_until("lines in the access log", || async { self.lines().len() >= count }).await;
        self.lines()
    }

    /// A figure of `/proc/<pid>/status` in KiB, like `VmRSS` or `VmHWM`.
    pub fn memory_kib(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Bytes that the process has read so far, from files and sockets.
    pub fn bytes_read(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("weir said:\n{}", self.said());
        } else if self.owns_folder {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Waits until the condition holds.
pub async fn wait_until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let until = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < until, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The sum of the series of that name on a metrics page.
pub fn sum_of(page: &str, name: &str, labels: &[&str]) -> u64 {
    let lines = page.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().expect(line)).sum()
}

/// An address that nobody listens on, and that nobody gets by asking for any: it lies below the ports that
/// systems give out by themselves, and this process names each only once.
pub fn free_port() -> SocketAddr {
    let ports = u32::from(PORTS.end - PORTS.start);
    // Test processes that run side by side start far from each other.
    let start = std::process::id().wrapping_mul(2_654_435_761);
    for _ in 0..ports {
        let step = PORTS_NAMED.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(start.wrapping_add(step) % ports).unwrap();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().unwrap();
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// A new folder below the one that Cargo keeps for this purpose, away from those of other checkouts.
pub fn new_folder() -> PathBuf {
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("weir-it-{}-{number}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // A process of the same number may have left one behind.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn write_config(folder: &Path, text: &str) {
    // Moved into place, so that a watcher never sees half a file.
    std::fs::write(folder.join("weir.new"), text).unwrap();
    std::fs::rename(folder.join("weir.new"), folder.join("weir.yaml")).unwrap();
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut line) = Line::open(address).await else { return false };
    line.ask(&Ask::new("GET", "/readyz")).await.is_ok_and(|answer| answer.status == 200)
}
