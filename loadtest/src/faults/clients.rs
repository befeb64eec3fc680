//! The clients: each asks one agent's models without a pause, streamed or not, and now and then leaves in the
//! middle of an answer. What they get is counted; they judge nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use tokio::task::JoinSet;

use crate::client::connect;
use crate::faults::Dice;
use crate::faults::stage::{AGENT_KEY, Stage};

/// Clients of each agent.
const EACH: u64 = 4;
/// Longest time for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Pause after a refused connection, while no gateway is there, and after a refusal for want of money, so that
/// those who have some get most of the machine.
const PAUSE: Duration = Duration::from_millis(10);
/// Sessions of an agent that has some.
const SESSIONS: u64 = 6;

/// What clients got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Answers read to their end, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers that broke off.
    pub broken: u64,
    /// Answers that the client left.
    pub left: u64,
    /// Connections that nobody took.
    pub refused: u64,
}

impl Answers {
    /// Adds what others got.
    pub fn add(&mut self, other: &Self) {
        self.broken += other.broken;
        self.left += other.left;
        self.refused += other.refused;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

/// All clients of one round.
#[derive(Debug)]
pub struct Crowd {
    clients: JoinSet<Answers>,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// Starts them all.
    pub fn start(stage: &Stage, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for (agent, at) in stage.agents.iter().zip(0_u64..) {
            for number in 0..EACH {
                let client = Client {
                    addr: stage.data,
                    agent: agent.name.clone(),
                    has_sessions: agent.has_sessions,
                    dice: Dice::new(seed.wrapping_add(at * EACH + number + 1)),
                };
                clients.spawn(client.ask_on(Arc::clone(&stop)));
            }
        }
        Self { clients, stop }
    }

    /// Lets each finish what it has begun.
    pub async fn end(mut self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Answers::default();
        while let Some(part) = self.clients.join_next().await {
            all.add(&part.unwrap_or_default());
        }
        all
    }
}

struct Client {
    addr: SocketAddr,
    agent: String,
    has_sessions: bool,
    dice: Dice,
}

/// How one answer ended.
enum End {
    Whole(u16),
    Left,
}

impl Client {
    async fn ask_on(mut self, stop: Arc<AtomicBool>) -> Answers {
        let mut answers = Answers::default();
        let mut line = None;
        while !stop.load(Ordering::Relaxed) {
            if line.as_ref().is_none_or(SendRequest::is_closed) {
                line = connect(self.addr).await.ok();
            }
            let Some(open) = line.as_mut() else {
                answers.refused += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            match tokio::time::timeout(ANSWER_MAX, self.ask(open)).await {
                Ok(Ok(End::Whole(status))) => {
                    *answers.statuses.entry(status).or_default() += 1;
                    if status == 402 {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Ok(Ok(End::Left)) => {
                    answers.left += 1;
                    line = None;
                }
                _ => {
                    answers.broken += 1;
                    line = None;
                }
            }
        }
        answers
    }

    async fn ask(&mut self, line: &mut SendRequest<Full<Bytes>>) -> io::Result<End> {
        line.ready().await.map_err(io::Error::other)?;
        // One in five leaves, after so many pieces of the answer or before it.
        let patience = (self.dice.roll(5) == 0).then(|| self.dice.roll(12));
        let request = self.request().map_err(io::Error::other)?;
        let response = line.send_request(request);
        if patience == Some(0) {
            // Sent, and gone a moment later.
            let moment = Duration::from_millis(self.dice.roll(20));
            let _ = tokio::time::timeout(moment, response).await;
            return Ok(End::Left);
        }
        let response = response.await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut pieces = 0;
        while let Some(piece) = body.frame().await {
            piece.map_err(io::Error::other)?;
            pieces += 1;
            if patience.is_some_and(|patience| pieces >= patience) {
                return Ok(End::Left);
            }
        }
        Ok(End::Whole(status))
    }

    fn request(&mut self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let names: Vec<&str> = Stage::models().collect();
        let name = names[usize::try_from(self.dice.roll(names.len() as u64)).unwrap_or_default()];
        let (agent, stream) = (&self.agent, self.dice.roll(2) == 0);
        let body = format!(
            r#"{{"model":"{agent}-{name}","stream":{stream},"messages":[{{"role":"user","content":"{:>1$}"}}]}}"#,
            "x",
            usize::try_from(self.dice.roll(300)).unwrap_or_default()
        );
        let mut request = Request::post("/v1/chat/completions")
            .header(HOST, self.addr.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {AGENT_KEY}"))
            .header("x-agent-id", agent);
        if self.has_sessions {
            request = request.header("x-session-id", format!("s{}", self.dice.roll(SESSIONS)));
        }
        request.body(Full::new(Bytes::from(body)))
    }
}
