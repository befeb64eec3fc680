//! What the run is played on: agents in teams below one fleet, each with a provider of its own, so that its
//! bill is known whatever the gateway says; and the gateway's configuration for them.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::faults::gateway::Gateway;
use crate::upstream::server::{MockConfig, Upstream};

/// The key of the clients.
pub const AGENT_KEY: &str = "faults-agent-key-0123456789abcdef";
/// The key of the control API.
pub const ADMIN_KEY: &str = "faults-admin-key-0123456789abcdef";
/// How many agents there are.
const AGENTS: usize = 12;
/// How many teams.
pub const TEAMS: usize = 3;
/// Caps of agents in nano-dollars, in turn: one that is reached at once, others later, one never.
const CAPS_NANO: [i64; 4] = [20_000_000, 3_000_000_000, 20_000_000_000, 500_000_000_000];
/// Caps of teams: one that is reached, two that are not.
const TEAM_CAPS_NANO: [i64; TEAMS] = [60_000_000_000, 1_000_000_000_000, 1_000_000_000_000];
/// The cap of the whole fleet, which is not reached.
pub const FLEET_CAP_NANO: i64 = 2_000_000_000_000;
/// By how much the low caps are raised after each round, so that work goes on.
const RAISE_NANO: i64 = 50_000_000;

/// What the models of an agent do, by the end of their names: the mock's faults, and the model after it.
const MODELS: [(&str, &str, &str); 10] = [
    ("quick", "chunks=50", ""),
    ("flow", "chunks=60-interval=4", ""),
    ("late", "chunks=90-latency=25", ""),
    ("thinks", "chunks=20-reasoning=200", ""),
    ("cut", "chunks=80-cut=20", "quick"),
    ("reset", "chunks=80-reset=10", ""),
    ("breaks", "chunks=40-error=15", ""),
    ("first", "chunks=40-error=0", "late"),
    ("silent", "nohead", "flow"),
    ("down", "503", "quick"),
];

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its cap now, in nano-dollars.
    pub cap: i64,
    /// The highest cap that it ever had.
    pub cap_max: i64,
    /// Its requests name a session, which has a cap of its own.
    pub has_sessions: bool,
    /// The provider that only this agent uses.
    pub provider: Upstream,
}

/// Everything but the gateway's process.
#[derive(Debug)]
pub struct Stage {
    /// Where configuration and ledger lie.
    pub folder: PathBuf,
    /// Where clients go.
    pub data: SocketAddr,
    /// Where the control API is.
    pub admin: SocketAddr,
    /// The agents.
    pub agents: Vec<Agent>,
    rewritten: u64,
}

impl Stage {
    /// Starts the providers and writes the first configuration into a folder, whose path must be absolute.
    pub async fn set(folder: &Path) -> io::Result<Self> {
        let mut agents = Vec::new();
        for at in 0..AGENTS {
            let name = format!("a{at}");
            let provider =
                Upstream::start(MockConfig { name: name.clone(), ..MockConfig::default() });
            let cap = CAPS_NANO[at % CAPS_NANO.len()];
            let has_sessions = at % 5 == 3;
            agents.push(Agent { name, cap, cap_max: cap, has_sessions, provider: provider.await? });
        }
        let [data, admin] = free_ports()?;
        let mut stage = Self { folder: folder.to_owned(), data, admin, agents, rewritten: 0 };
        stage.rewrite()?;
        Ok(stage)
    }

    /// The models of an agent, by the end of their names.
    pub fn models() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|(name, ..)| *name)
    }

    /// The team of the agent with that number.
    pub const fn team(at: usize) -> usize {
        at % TEAMS
    }

    /// The cap of that team, in nano-dollars.
    pub const fn team_cap(team: usize) -> i64 {
        TEAM_CAPS_NANO[team]
    }

    /// Writes the configuration, a little different each time.
    pub fn rewrite(&mut self) -> io::Result<()> {
        self.rewritten += 1;
        let new = self.folder.join("weir.new");
        std::fs::write(&new, self.yaml())?;
        std::fs::rename(new, self.folder.join("weir.yaml"))
    }

    /// Gives agents that are at their caps more.
    pub async fn raise_caps(&mut self, gateway: &Gateway) -> io::Result<()> {
        for agent in &mut self.agents {
            agent.cap = agent.cap.max(agent.cap_max) + RAISE_NANO;
            agent.cap_max = agent.cap;
            push(gateway, &agent.name, agent.cap).await?;
        }
        Ok(())
    }

    /// Takes an agent's cap back to nearly nothing, below what it has spent. The next raise lifts it.
    pub async fn lower_a_cap(&mut self, gateway: &Gateway) -> io::Result<()> {
        let at = usize::try_from(self.rewritten).unwrap_or_default() % self.agents.len();
        let agent = &mut self.agents[at];
        agent.cap = 1;
        push(gateway, &agent.name, agent.cap).await
    }

    /// Bytes of the ledger's file and its log.
    pub fn ledger_bytes(&self) -> u64 {
        let length = |name| std::fs::metadata(self.folder.join(name)).map_or(0, |file| file.len());
        length("weir.db") + length("weir.db-wal")
    }

    fn yaml(&self) -> String {
        let (data, admin, turn) = (self.data, self.admin, self.rewritten);
        let sock = self.folder.join("up.sock");
        let sock = sock.display();
        let mut yaml = format!(
            "server: {{listen: '{data}', admin: '{admin}', threads: 2, upgrade_sock: '{sock}', grace_seconds: 20}}\n\
             auth: {{agent_keys: ['{AGENT_KEY}'], admin_keys: ['{ADMIN_KEY}']}}\nlog: {{access: off}}\n\
             store: 'sqlite:weir.db'\naliases: {{turn-{turn}: a0-quick}}\nproviders:\n"
        );
        let mut fallbacks = String::new();
        let mut models = String::new();
        for agent in &self.agents {
            let (name, url) = (&agent.name, agent.provider.base_url());
            let _ = writeln!(
                yaml,
                "  p-{name}: {{dialect: openai, base_url: '{url}', api_key: k-{name}}}"
            );
            for (model, faults, next) in MODELS {
                let _ = writeln!(
                    models,
                    "  - {{id: {name}-{model}, provider: p-{name}, upstream_id: 'mock-price=1:2-tokens=bytes-{faults}', \
                     price: {{input: 1, output: 2}}, context_tokens: 100000, output_tokens_max: 400}}"
                );
                if !next.is_empty() {
                    let _ = writeln!(fallbacks, "    {name}-{model}: [{name}-{next}]");
                }
            }
        }
        let _ =
            write!(yaml, "models:\n{models}routing:\n  cooldown_ms: 0\n  fallbacks:\n{fallbacks}");
        yaml + &self.accounts()
    }

    fn accounts(&self) -> String {
        let mut yaml =
            format!("fleet: {{budget: {{limit_usd: '{}'}}}}\nteams:\n", usd(FLEET_CAP_NANO));
        for (team, cap) in TEAM_CAPS_NANO.iter().enumerate() {
            let _ = writeln!(yaml, "  t{team}: {{budget: {{limit_usd: '{}'}}}}", usd(*cap));
        }
        yaml += "agents:\n  default: {}\n";
        for (at, agent) in self.agents.iter().enumerate() {
            let (name, team) = (&agent.name, Self::team(at));
            let cap = usd(CAPS_NANO[at % CAPS_NANO.len()]);
            let session =
                if agent.has_sessions { ", session_budget: {limit_usd: 0.5}" } else { "" };
            let _ = writeln!(
                yaml,
                "  {name}: {{team: t{team}, budget: {{limit_usd: '{cap}'}}{session}}}"
            );
        }
        yaml
    }
}

async fn push(gateway: &Gateway, agent: &str, cap: i64) -> io::Result<()> {
    let body = format!(r#"{{"budget_total":"{}"}}"#, usd(cap));
    let answer = gateway.control("POST", &format!("/api/budget/{agent}"), &body).await?;
    if answer.status == 200 { Ok(()) } else { Err(io::Error::other(answer.text())) }
}

/// Nano-dollars in dollars.
pub fn usd(nano: i64) -> String {
    let (sign, whole) = (if nano < 0 { "-" } else { "" }, nano.unsigned_abs());
    format!("{sign}{}.{:09}", whole / 1_000_000_000, whole % 1_000_000_000)
}

fn free_ports() -> io::Result<[SocketAddr; 2]> {
    // Both are held until both are known.
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (bind()?, bind()?);
    Ok([one.local_addr()?, other.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nano_dollars_are_written_exactly() {
        assert_eq!(usd(1), "0.000000001");
        assert_eq!(usd(-2_500_000_000), "-2.500000000");
    }

    #[tokio::test]
    async fn each_configuration_differs_from_the_one_before() {
        let folder = std::env::temp_dir().join(format!("faults-stage-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut stage = Stage::set(&folder).await.unwrap();
        let read = || std::fs::read_to_string(folder.join("weir.yaml")).unwrap();
        let first = read();
        stage.rewrite().unwrap();
        assert_ne!(first, read());
        assert_eq!(first.matches("base_url").count(), AGENTS);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
