//! The gateway's process: started, signalled, handed over and killed. It ends only what it has started.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::faults::stage::{ADMIN_KEY, Stage};
use crate::fetch::{Ask, Fetched, fetch};

/// Longest wait for a start or an end.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    child: Child,
    admin: std::net::SocketAddr,
}

impl Gateway {
    /// Starts it and waits until both listeners are ready.
    pub async fn start(program: &Path, stage: &Stage) -> io::Result<Self> {
        let mut gateway = Self::spawn(program, stage, &[])?;
        gateway.until_ready(stage).await?;
        Ok(gateway)
    }

    fn spawn(program: &Path, stage: &Stage, more: &[&str]) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(stage.folder.join("weir.log"))?;
        let child = Command::new(program)
            .args(["serve", "-c", "weir.yaml"])
            .args(more)
            .current_dir(&stage.folder)
            .env_remove("WEIR_CONFIG")
            .env("WEIR_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { program: program.to_owned(), child, admin: stage.admin })
    }

    async fn until_ready(&mut self, stage: &Stage) -> io::Result<()> {
        let until = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the gateway has ended: {status}")));
            }
            if is_ready(stage.data).await && is_ready(stage.admin).await {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::other("the gateway does not get ready"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends a signal to this process.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let line = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").arg("-c").arg(line).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other("the gateway is not there")) }
    }

    /// A request to the control API.
    pub async fn control(&self, method: &str, path: &str, body: &str) -> io::Result<Fetched> {
        let key = format!("Bearer {ADMIN_KEY}");
        let headers = [("authorization", key.as_str())];
        let ask = Ask { addr: self.admin, method, path, headers: &headers, body: body.as_bytes() };
        fetch(ask).await
    }

    /// Ends it with no chance to do anything more; the program that can be started again.
    pub fn killed(mut self) -> io::Result<PathBuf> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.program.clone())
    }

    /// Starts a second process that takes the listeners over, and waits for the end of the first.
    pub async fn handed_over(mut self, stage: &Stage) -> io::Result<Self> {
        let mut next = self.hand_over(stage).await?;
        let until = Instant::now() + WAIT_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                return Err(io::Error::other("the old gateway does not end"));
            }
            tokio::time::sleep(LOOK).await;
        }
        next.until_ready(stage).await?;
        Ok(next)
    }

    /// The same, but both are killed on the way.
    pub async fn killed_in_hand_over(self, stage: &Stage) -> io::Result<PathBuf> {
        let next = self.hand_over(stage).await?;
        // Both serve and write for as long as streams of the old one run.
        tokio::time::sleep(Duration::from_millis(100)).await;
        next.killed()?;
        self.killed()
    }

    async fn hand_over(&self, stage: &Stage) -> io::Result<Self> {
        let socket = stage.folder.join("up.sock");
        let _ = std::fs::remove_file(&socket);
        let next = Self::spawn(&self.program, stage, &["--upgrade"])?;
        let until = Instant::now() + WAIT_MAX;
        while !socket.exists() {
            if Instant::now() > until {
                return Err(io::Error::other("the new gateway does not ask for the listeners"));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.signal("QUIT")?;
        Ok(next)
    }

    /// Lets it finish, and end.
    pub async fn end(mut self) -> io::Result<()> {
        self.signal("TERM")?;
        let until = Instant::now() + WAIT_MAX;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                let why = || io::Error::other(format!("the gateway has ended: {status}"));
                return status.success().then_some(()).ok_or_else(why);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(io::Error::other("the gateway does not end"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail for a process that has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn is_ready(addr: std::net::SocketAddr) -> bool {
    let ask = Ask { addr, method: "GET", path: "/readyz", headers: &[], body: b"" };
    fetch(ask).await.is_ok_and(|answer| answer.status == 200)
}
