//! The comparison of ledger and bills after each round, and the table at the end.

use std::fmt::Write as _;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::faults::Plan;
use crate::faults::clients::Answers;
use crate::faults::gateway::Gateway;
use crate::faults::stage::{FLEET_CAP_NANO, Stage, TEAMS, usd};

/// Longest wait for what a dead process held to be settled, and for answers of providers to end.
const QUIET_MAX: Duration = Duration::from_mins(1);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// One start after a kill.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// From the start of the process to its readiness.
    pub time: Duration,
    /// How long its ledger was.
    pub bytes: u64,
}

/// An account as it stood at the last comparison, in nano-dollars.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The highest cap that it ever had.
    pub cap: i64,
    /// What the ledger says.
    pub spent: i64,
    /// What its providers say.
    pub billed: i64,
}

impl Row {
    /// What is wrong with it.
    fn breaches(&self) -> Vec<String> {
        let Self { name, cap, spent, billed } = self;
        let mut found = Vec::new();
        if spent < billed {
            found.push(format!("{name}: spent {spent} is less than the bill {billed}"));
        }
        if billed > cap {
            found.push(format!("{name}: the bill {billed} is above the cap {cap}"));
        }
        if spent > cap {
            found.push(format!("{name}: spent {spent} is above the cap {cap}"));
        }
        found
    }
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    seed: u64,
    started: Option<Instant>,
    seconds: u64,
    /// Rounds of load, each with a comparison at its end.
    pub rounds: u64,
    /// Reloads by signal.
    pub reloads: u64,
    /// Times that all caps were raised under load.
    pub raises: u64,
    /// Times that a cap was set below what was spent, under load.
    pub lowered: u64,
    /// Hand-overs to a second process.
    pub hand_overs: u64,
    /// Hand-overs in which both processes were killed.
    pub kills_in_hand_over: u64,
    /// Starts after a kill.
    pub restarts: Vec<Restart>,
    /// What clients got.
    pub answers: Answers,
    /// The accounts at the last comparison; the sum of all agents comes last.
    pub rows: Vec<Row>,
    /// What must not be.
    pub breaches: Vec<String>,
    /// What `weir ledger verify` said at the end.
    pub verified: String,
}

impl Report {
    /// An empty one.
    pub fn new(plan: &Plan) -> Self {
        Self { seed: plan.seed, started: Some(Instant::now()), ..Self::default() }
    }

    /// Whether everything was as it must be, and the run was worth something.
    pub fn is_good(&self) -> bool {
        self.breaches.is_empty() && self.rounds > 0 && self.answers.statuses.contains_key(&200)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "seed {}, {} s, {} rounds: {} kills (both processes of a hand-over in {} of them), {} hand-overs, {} reloads, \
             caps raised {} times under load and lowered {} times below what was spent\n",
            self.seed,
            self.seconds,
            self.rounds,
            self.restarts.len(),
            self.kills_in_hand_over,
            self.hand_overs,
            self.reloads,
            self.raises,
            self.lowered
        );
        let Answers { statuses, broken, left, refused } = &self.answers;
        let counts: Vec<String> =
            statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        let _ = writeln!(
            text,
            "answers: {}; {broken} broke off, {left} were left by the client, {refused} connections refused",
            counts.join(", ")
        );
        text += &self.restarts_text();
        let _ = writeln!(
            text,
            "{:<10} {:>16} {:>16} {:>16} {:>16}",
            "account", "highest cap USD", "ledger USD", "bill USD", "over-count USD"
        );
        for Row { name, cap, spent, billed } in &self.rows {
            let (cap, over) = (usd(*cap), usd(spent - billed));
            let (spent, billed) = (usd(*spent), usd(*billed));
            let _ = writeln!(text, "{name:<10} {cap:>16} {spent:>16} {billed:>16} {over:>16}");
        }
        let _ = writeln!(text, "{}", self.verified);
        for breach in &self.breaches {
            let _ = writeln!(text, "BREACH {breach}");
        }
        let verdict = if self.is_good() {
            "after every round each ledger covered its bill, and no bill or ledger exceeded its cap"
        } else {
            "the run has failed"
        };
        text + verdict
    }

    fn restarts_text(&self) -> String {
        let mut times: Vec<u128> =
            self.restarts.iter().map(|restart| restart.time.as_millis()).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let most = times.last().copied().unwrap_or_default();
        let bytes = self.restarts.last().map_or(0, |last| last.bytes) / (1024 * 1024);
        format!(
            "ready again after a kill: median {median} ms, longest {most} ms; the last with a ledger of {bytes} MiB\n"
        )
    }
}

/// Compares ledger and bills once all is quiet, and adds what is wrong to the report.
///
/// # Errors
/// A gateway that does not answer, or that does not settle what was held.
pub async fn compare(gateway: &Gateway, stage: &Stage, report: &mut Report) -> io::Result<()> {
    let until = Instant::now() + QUIET_MAX;
    for agent in &stage.agents {
        let left = until.saturating_duration_since(Instant::now());
        let ended = agent.provider.wait_for_bill(left, |lines| lines.iter().all(|line| line.ended));
        if !ended.await {
            return Err(io::Error::other(format!("answers for {} do not end", agent.name)));
        }
    }
    while amount(gateway, "fleet", "budget_held").await? != 0 {
        if Instant::now() > until {
            return Err(io::Error::other("what was held is not settled"));
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut rows = Vec::new();
    let mut teams = vec![Row::default(); TEAMS];
    for (at, agent) in stage.agents.iter().enumerate() {
        let (cap, billed) = (agent.cap_max, agent.provider.bill_total());
        let spent = amount(gateway, &agent.name, "budget_spent").await?;
        teams[Stage::team(at)].billed += billed;
        rows.push(Row { name: agent.name.clone(), cap, spent, billed });
    }
    for (at, mut team) in teams.into_iter().enumerate() {
        team.name = format!("team:t{at}");
        team.cap = Stage::team_cap(at);
        team.spent = amount(gateway, &team.name, "budget_spent").await?;
        rows.push(team);
    }
    let agents = &rows[..stage.agents.len()];
    let sum = agents.iter().map(|row| row.spent).sum::<i64>();
    let billed = agents.iter().map(|row| row.billed).sum();
    let spent = amount(gateway, "fleet", "budget_spent").await?;
    rows.push(Row { name: "fleet".to_owned(), cap: FLEET_CAP_NANO, spent, billed });
    if spent != sum {
        report.breaches.push(format!("round {}: fleet {spent} is not {sum}", report.rounds));
    }
    let found = rows.iter().flat_map(Row::breaches);
    let round = report.rounds;
    report.breaches.extend(found.map(|what| format!("round {round}: {what}")));
    report.rows = rows;
    Ok(())
}

/// Checks the whole ledger, when the gateway has ended.
///
/// # Errors
/// The command cannot be run.
pub fn conclude(plan: &Plan, stage: &Stage, report: &mut Report) -> io::Result<()> {
    report.seconds = report.started.map_or(0, |started| started.elapsed().as_secs());
    let output = Command::new(&plan.weir)
        .args(["ledger", "verify", "--file", "weir.db"])
        .current_dir(&stage.folder)
        .env_remove("WEIR_CONFIG")
        .output()?;
    report.verified = String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ");
    if !output.status.success() {
        report.breaches.push("the ledger is broken".to_owned());
    }
    Ok(())
}

/// An amount of an account, in nano-dollars, as the control API tells it.
async fn amount(gateway: &Gateway, account: &str, field: &str) -> io::Result<i64> {
    let answer = gateway.control("GET", &format!("/api/spend/{account}"), "").await?;
    let text = answer.text();
    let found = (answer.status == 200).then(|| nano(&text, field)).flatten();
    found.ok_or_else(|| io::Error::other(format!("no {field} of {account}: {text}")))
}

/// The dollars of a field as nano-dollars, read without a float.
fn nano(text: &str, field: &str) -> Option<i64> {
    let at = text.find(&format!("\"{field}\":"))? + field.len() + 3;
    let number: String =
        text[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '-')).collect();
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    format!("{whole}{part:0<9}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        let text = r#"{"budget_spent":12.000000345,"budget_held":0,"x":-1.5}"#;
        assert_eq!(nano(text, "budget_spent"), Some(12_000_000_345));
        assert_eq!(nano(text, "budget_held"), Some(0));
        assert_eq!(nano(text, "x"), Some(-1_500_000_000));
        assert_eq!(nano(text, "y"), None);
    }

    #[test]
    fn every_kind_of_breach_is_found() {
        let row = |cap, spent, billed| Row { name: "a".to_owned(), cap, spent, billed };
        assert!(row(5, 5, 5).breaches().is_empty());
        assert_eq!(row(5, 3, 4).breaches().len(), 1);
        assert_eq!(row(5, 6, 5).breaches().len(), 1);
        assert_eq!(row(5, 6, 6).breaches().len(), 2);
    }
}
