//! Alarms by what was spent: the levels of the whole fleet, and the warnings of single budgets.
//!
//! They say when something is to be told; who is told, and which models a level takes away, is decided
//! elsewhere.

use crate::base::money::NanoUsd;
use crate::ledger::standing::Standing;

/// How alarming the spend of a period is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Not at all.
    #[default]
    Normal,
    /// Somebody should know.
    Warning,
    /// Expensive models are replaced by cheaper ones.
    Soft,
    /// Only the cheapest models are left.
    Hard,
    /// Nothing is admitted until an administrator lifts it.
    Emergency,
}

impl Level {
    /// All of them, mildest first.
    pub const ALL: [Self; 5] =
        [Self::Normal, Self::Warning, Self::Soft, Self::Hard, Self::Emergency];

    /// The name used in metrics, logs and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Soft => "soft",
            Self::Hard => "hard",
            Self::Emergency => "emergency",
        }
    }
}

/// From which spend on each level holds; `None` = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Of `Level::Warning`.
    pub warning: Option<NanoUsd>,
    /// Of `Level::Soft`.
    pub soft: Option<NanoUsd>,
    /// Of `Level::Hard`.
    pub hard: Option<NanoUsd>,
    /// Of `Level::Emergency`.
    pub emergency: Option<NanoUsd>,
}

impl Levels {
    /// The highest level that this spend reaches.
    pub fn of(&self, spent: NanoUsd) -> Level {
        let reached = |from: Option<NanoUsd>| from.is_some_and(|from| spent >= from);
        [
            (self.emergency, Level::Emergency),
            (self.hard, Level::Hard),
            (self.soft, Level::Soft),
            (self.warning, Level::Warning),
        ]
        .into_iter()
        .find(|(from, _)| reached(*from))
        .map_or(Level::Normal, |(_, level)| level)
    }
}

/// The level in force. It follows the spend up and down, but an emergency stays until it is lifted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    level: Level,
    /// An emergency was lifted, and the spend that brought it about has not gone yet.
    lifted: bool,
}

/// Another level is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The one before.
    pub from: Level,
    /// The one now.
    pub to: Level,
}

impl Alarm {
    /// The alarm as it was stored: an emergency outlives its process.
    pub const fn restored(level: Level, lifted: bool) -> Self {
        Self { level, lifted }
    }

    /// The level in force.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Whether it stays however low the spend is.
    pub fn is_latched(&self) -> bool {
        self.level == Level::Emergency
    }

    /// Whether an emergency was lifted whose spend has not gone yet.
    pub const fn is_lifted(&self) -> bool {
        self.lifted
    }

    /// Looks at the spend of the present period. `Some` just once per change.
    pub fn step(&mut self, spent: NanoUsd, levels: &Levels) -> Option<Change> {
        if self.is_latched() {
            return None;
        }
        let reached = levels.of(spent);
        self.lifted &= reached == Level::Emergency;
        let to = if self.lifted { Level::Hard } else { reached };
        self.go_to(to)
    }

    /// Ends an emergency by an administrator's word. It does not come back before the spend has been
    /// below it, in the next period or after a reset; until then `Level::Hard` is in force.
    pub fn lift(&mut self) -> Option<Change> {
        if !self.is_latched() {
            return None;
        }
        self.lifted = true;
        self.go_to(Level::Hard)
    }

    fn go_to(&mut self, to: Level) -> Option<Change> {
        let from = std::mem::replace(&mut self.level, to);
        (from != to).then_some(Change { from, to })
    }
}

/// A share of a budget that is worth a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share {
    /// 50 %.
    Half,
    /// 80 %.
    Most,
    /// 100 %: from here on it is an overdraft.
    All,
}

impl Share {
    /// All of them, smallest first.
    pub const ALL: [Self; 3] = [Self::Half, Self::Most, Self::All];

    /// In percent.
    pub const fn percent(self) -> u8 {
        match self {
            Self::Half => 50,
            Self::Most => 80,
            Self::All => 100,
        }
    }

    /// The largest share that this spend reaches.
    fn of(spent: NanoUsd, limit: NanoUsd) -> Option<Self> {
        let reached = |share: &Self| {
            i128::from(spent.0) * 100 >= i128::from(limit.0) * i128::from(share.percent())
        };
        Self::ALL.into_iter().rev().find(reached)
    }
}

/// Which shares of one budget have been spoken of. A new period, a reset or another limit begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// When the period began, and when it was last reset.
    pub began: (i64, Option<i64>),
    /// The limit that the share is one of.
    pub limit: Option<NanoUsd>,
    /// The largest share that was told.
    pub told: Option<Share>,
}

/// All that was told of one account, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The level of the fleet; of no meaning for others.
    pub alarm: Alarm,
    /// The shares of its budget.
    pub shares: Thresholds,
}

impl Told {
    /// Whether nothing was told, so that there is nothing to be kept.
    pub fn is_nothing(&self) -> bool {
        self.alarm == Alarm::default() && self.shares.told.is_none()
    }
}

impl Thresholds {
    /// Looks at a budget. `Some` just once for each share that it reaches; if it passes several at once,
    /// the largest.
    pub fn step(&mut self, standing: &Standing) -> Option<Share> {
        let began = (standing.start_ms, standing.reset_at_ms);
        if self.began != began {
            *self = Self { began, ..Self::default() };
        }
        let reached = Share::of(standing.spent, standing.limit?);
        if self.limit != standing.limit {
            // With a higher limit, what was told of the lower one can become news again.
            self.limit = standing.limit;
            self.told = self.told.min(reached);
        }
        if reached <= self.told {
            return None;
        }
        self.told = reached;
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::account::{AccountId, AccountKey, Cadence, Source};
    use proptest::prelude::*;

    const LEVELS: Levels = Levels {
        warning: Some(NanoUsd(100)),
        soft: Some(NanoUsd(250)),
        hard: Some(NanoUsd(500)),
        emergency: Some(NanoUsd(1_000)),
    };

    fn steps(alarm: &mut Alarm, spends: &[i64]) -> Vec<Level> {
        let changes = spends.iter().filter_map(|spent| alarm.step(NanoUsd(*spent), &LEVELS));
        changes.map(|change| change.to).collect()
    }

    #[test]
    fn each_level_is_told_once() {
        let mut alarm = Alarm::default();
        let told = steps(&mut alarm, &[0, 99, 100, 101, 249, 250, 600, 601, 999]);
        assert_eq!(told, [Level::Warning, Level::Soft, Level::Hard]);
        assert_eq!(steps(&mut alarm, &[0, 0]), [Level::Normal], "a new day");
    }

    #[test]
    fn an_emergency_stays_until_it_is_lifted() {
        let mut alarm = Alarm::default();
        assert_eq!(steps(&mut alarm, &[1_000, 0, 5]), [Level::Emergency]);
        let mut again = Alarm::restored(alarm.level(), alarm.is_lifted());
        assert!(again.is_latched());
        let lifted = again.lift();
        assert_eq!(lifted, Some(Change { from: Level::Emergency, to: Level::Hard }));
        assert_eq!(again.lift(), None);
        assert_eq!(steps(&mut again, &[1_200, 1_300]), [], "lifted means lifted");
        assert_eq!(steps(&mut again, &[10, 1_000]), [Level::Normal, Level::Emergency], "next day");
    }

    #[test]
    fn levels_may_be_missing() {
        let levels = Levels { emergency: Some(NanoUsd(10)), ..Levels::default() };
        assert_eq!(levels.of(NanoUsd(9)), Level::Normal);
        assert_eq!(levels.of(NanoUsd(10)), Level::Emergency);
        assert_eq!(Levels::default().of(NanoUsd(i64::MAX)), Level::Normal);
    }

    fn standing(spent: i64, limit: Option<i64>) -> Standing {
        Standing {
            id: AccountId(0),
            key: AccountKey::fleet(),
            parent: None,
            limit: limit.map(NanoUsd),
            source: Source::Local,
            spent: NanoUsd(spent),
            held: NanoUsd(0),
            remaining: None,
            cadence: Cadence::Daily,
            start_ms: 0,
            end_ms: 10,
            hard: false,
            frozen: false,
            reset_at_ms: None,
        }
    }

    #[test]
    fn each_share_is_told_once() {
        let mut state = Thresholds::default();
        let mut look = |spent| state.step(&standing(spent, Some(200)));
        assert_eq!([look(99), look(100), look(120)], [None, Some(Share::Half), None]);
        assert_eq!([look(90), look(100)], [None, None], "a refund makes no news");
        assert_eq!([look(500), look(600)], [Some(Share::All), None]);
        assert_eq!(state.step(&standing(600, Some(1_000))), None);
        assert_eq!(state.step(&standing(800, Some(1_000))), Some(Share::Most), "a higher limit");
        assert_eq!(state.step(&standing(800, Some(700))), Some(Share::All), "a lower one");
        assert_eq!(state.step(&standing(800, None)), None);
        let tomorrow = Standing { start_ms: 10, ..standing(170, Some(200)) };
        assert_eq!(state.step(&tomorrow), Some(Share::Most));
        let reset = Standing { reset_at_ms: Some(12), ..tomorrow };
        assert_eq!(state.step(&Standing { spent: NanoUsd(0), ..reset.clone() }), None);
        assert_eq!(state.step(&reset), Some(Share::Most));
    }

    #[test]
    fn no_limit_is_too_large_or_too_small() {
        assert_eq!(Share::of(NanoUsd(i64::MAX), NanoUsd(i64::MAX)), Some(Share::All));
        assert_eq!(Share::of(NanoUsd(0), NanoUsd(0)), Some(Share::All));
        assert_eq!(Share::of(NanoUsd(i64::MAX / 2), NanoUsd(i64::MAX)), None);
    }

    proptest! {
        #[test]
        fn told_changes_add_up_to_the_level(spends in proptest::collection::vec(0i64..1_500, 0..40)) {
            let mut alarm = Alarm::default();
            let mut told = Level::Normal;
            let mut highest = Level::Normal;
            for spent in spends {
                if let Some(change) = alarm.step(NanoUsd(spent), &LEVELS) {
                    prop_assert_eq!(change.from, told);
                    prop_assert_ne!(change.from, change.to);
                    told = change.to;
                }
                highest = highest.max(LEVELS.of(NanoUsd(spent)));
                let expected =
                    if highest == Level::Emergency { highest } else { LEVELS.of(NanoUsd(spent)) };
                prop_assert_eq!((alarm.level(), told), (expected, expected));
            }
        }
    }
}
