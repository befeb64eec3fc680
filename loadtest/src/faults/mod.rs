//! A long run of faults against budgets: agents with hard caps in a tree, providers that fail in every way and
//! keep a bill, clients that leave, and a gateway that is reloaded, handed over and killed under load.
//!
//! After every round the ledger is compared with the bills: nothing that was billed may be missing, and no
//! bill may exceed its cap. The run judges by the provider's bill and the control API alone; it shares no
//! code with the gateway. Every choice comes from one seed, though not the order in which threads run.

pub mod audit;
pub mod clients;
pub mod gateway;
pub mod stage;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::faults::audit::{Report, Restart};
use crate::faults::clients::Crowd;
use crate::faults::gateway::Gateway;
use crate::faults::stage::Stage;

/// Shortest and longest time of a round, in milliseconds.
const ROUND_MS: (u64, u64) = (1_500, 7_000);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The gateway's program.
    pub weir: PathBuf,
    /// An empty folder for its configuration and its ledger.
    pub folder: PathBuf,
    /// Where all choices come from.
    pub seed: u64,
    /// How long, in seconds; the round that is under way then is ended.
    pub seconds: u64,
}

/// Numbers from a seed (xorshift).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed; 0 is taken for 1.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// A number below `sides`.
    pub const fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits of neighbours are alike.
        (self.0 >> 11) % sides
    }

    /// A time within bounds, in milliseconds.
    pub const fn wait(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.roll(most - least + 1))
    }
}

/// What happens within a round, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Reload,
    RaiseCaps,
    LowerCaps,
    HandOver,
    Kill,
    KillBothInHandOver,
}

/// Runs until the time is over.
///
/// # Errors
/// A gateway that does not start, answer or end when it should; a breach of a cap is no error but stands
/// in the report.
pub async fn run(plan: Plan) -> io::Result<Report> {
    let mut dice = Dice::new(plan.seed);
    let mut stage = Stage::set(&plan.folder).await?;
    let mut gateway = Gateway::start(&plan.weir, &stage).await?;
    let mut report = Report::new(&plan);
    let until = Instant::now() + Duration::from_secs(plan.seconds);
    while Instant::now() < until {
        let crowd = Crowd::start(&stage, dice.roll(u64::MAX));
        for event in mild_events(&mut dice) {
            tokio::time::sleep(dice.wait((200, 1_500))).await;
            gateway = perform(event, gateway, &mut stage, &mut report).await?;
        }
        tokio::time::sleep(dice.wait(ROUND_MS)).await;
        if let Some(event) = rough_event(&mut dice) {
            gateway = perform(event, gateway, &mut stage, &mut report).await?;
        }
        report.answers.add(&crowd.end().await);
        report.rounds += 1;
        audit::compare(&gateway, &stage, &mut report).await?;
        stage.raise_caps(&gateway).await?;
    }
    gateway.end().await?;
    audit::conclude(&plan, &stage, &mut report)?;
    Ok(report)
}

fn mild_events(dice: &mut Dice) -> Vec<Event> {
    let kinds = [Event::Reload, Event::RaiseCaps, Event::LowerCaps, Event::Reload];
    let count = dice.roll(4);
    (0..count).filter_map(|_| kinds.get(usize::try_from(dice.roll(4)).ok()?).copied()).collect()
}

fn rough_event(dice: &mut Dice) -> Option<Event> {
    match dice.roll(10) {
        0 => None,
        1 | 2 => Some(Event::HandOver),
        3 => Some(Event::KillBothInHandOver),
        _ => Some(Event::Kill),
    }
}

async fn perform(
    event: Event,
    gateway: Gateway,
    stage: &mut Stage,
    report: &mut Report,
) -> io::Result<Gateway> {
    match event {
        Event::Reload => {
            stage.rewrite()?;
            gateway.signal("HUP")?;
            report.reloads += 1;
            Ok(gateway)
        }
        Event::RaiseCaps => {
            stage.raise_caps(&gateway).await?;
            report.raises += 1;
            Ok(gateway)
        }
        Event::LowerCaps => {
            stage.lower_a_cap(&gateway).await?;
            report.lowered += 1;
            Ok(gateway)
        }
        Event::HandOver => {
            report.hand_overs += 1;
            gateway.handed_over(stage).await
        }
        Event::Kill => restarted(gateway.killed()?, stage, report).await,
        Event::KillBothInHandOver => {
            let dead = gateway.killed_in_hand_over(stage).await?;
            report.kills_in_hand_over += 1;
            restarted(dead, stage, report).await
        }
    }
}

/// Starts the gateway after a kill, and notes how long that took.
async fn restarted(dead: PathBuf, stage: &Stage, report: &mut Report) -> io::Result<Gateway> {
    let started = Instant::now();
    let gateway = Gateway::start(&dead, stage).await?;
    report.restarts.push(Restart { time: started.elapsed(), bytes: stage.ledger_bytes() });
    Ok(gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.roll(10)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        assert!((0..10).all(|side| rolls(7).contains(&side)));
        let mut dice = Dice::new(0);
        let wait = dice.wait((5, 9)).as_millis();
        assert!((5..=9).contains(&wait));
    }
}
