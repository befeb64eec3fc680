//! Accounts: the nodes of the budget tree, what each may spend, and for how long.
//!
//! What they have spent lies in `book`.

use std::fmt;
use std::sync::Arc;

use crate::base::money::NanoUsd;

/// The number of an account, the same for its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// The name of an account: `fleet`, `team:research`, `agent:builder`, `session:builder 4f1c`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey(Arc<str>);

/// Which kind of node an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The root.
    Fleet,
    /// A team; teams may lie in teams.
    Team,
    /// An agent.
    Agent,
    /// One session of an agent.
    Session,
}

impl Node {
    /// The name used in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Team => "team",
            Self::Agent => "agent",
            Self::Session => "session",
        }
    }
}

impl AccountKey {
    /// The root of the tree.
    pub fn fleet() -> Self {
        Self(Arc::from("fleet"))
    }

    /// A team's account.
    pub fn team(name: &str) -> Self {
        Self(format!("team:{name}").into())
    }

    /// An agent's account.
    pub fn agent(id: &str) -> Self {
        Self(format!("agent:{id}").into())
    }

    /// The account of one session of an agent. Ids of agents hold no blanks, so the first one parts them.
    pub fn session(agent: &str, session: &str) -> Self {
        Self(format!("session:{agent} {session}").into())
    }

    /// A key as it was stored; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let known = ["team:", "agent:", "session:"].iter().any(|kind| text.starts_with(kind));
        (known || text == "fleet").then(|| Self(Arc::from(text)))
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which kind of node it names.
    pub fn node(&self) -> Node {
        match self.0.split_once(':') {
            Some(("team", _)) => Node::Team,
            Some(("agent", _)) => Node::Agent,
            Some(("session", _)) => Node::Session,
            _ => Node::Fleet,
        }
    }

    /// The name without its kind: the agent's id, the team's name.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, name)| name)
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long one budget lasts before the next period begins with a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cadence {
    /// For ever.
    #[default]
    None,
    /// An hour of the zone's clock.
    Hourly,
    /// A calendar day.
    Daily,
    /// An ISO week: Monday to Sunday.
    Weekly,
    /// A calendar month.
    Monthly,
}

impl Cadence {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly];

    /// The name used in configuration, API and store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

/// What an account may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Most that may be spent in one period; `None` = counted, not limited.
    pub limit: Option<NanoUsd>,
    /// How long a period is.
    pub cadence: Cadence,
    /// IANA name of the zone in whose calendar periods begin (`UTC`, `Europe/Berlin`); checked before.
    pub zone: Arc<str>,
    /// Whether requests that might exceed the limit are refused; else they are served and flagged.
    pub hard: bool,
}

/// Where the limit of an account comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// The configuration file.
    #[default]
    Local,
    /// The control API; holds until it is taken back there.
    Console,
}

impl Source {
    /// The seed's word for it (S0-07).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Console => "console",
        }
    }
}

/// One account as it is stored, without its balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub key: AccountKey,
    /// The account that has to pay as well.
    pub parent: Option<AccountId>,
    /// What the configuration says.
    pub terms: Terms,
    /// The limit that the control API has set; it goes before that of `terms`.
    pub limit_set: Option<NanoUsd>,
    /// Nothing is admitted until an administrator thaws it.
    pub frozen: bool,
    /// When its spend was last reset by hand, in milliseconds since the Unix epoch.
    pub reset_at_ms: Option<i64>,
}

impl Account {
    /// The limit in force.
    pub fn limit(&self) -> Option<NanoUsd> {
        self.limit_set.or(self.terms.limit)
    }

    /// This account, as the store has it, with all that led from `was` to `now`: what another process has
    /// changed meanwhile stays. Without `was` both processes have opened it, and the later one's
    /// configuration counts.
    #[must_use]
    pub fn with_change(&self, was: Option<&Self>, now: &Self) -> Self {
        let mut merged = self.clone();
        let Some(was) = was else {
            (merged.parent, merged.terms) = (now.parent, now.terms.clone());
            return merged;
        };
        let (before, terms) = (&was.terms, &now.terms);
        if was.parent != now.parent {
            merged.parent = now.parent;
        }
        if before.limit != terms.limit {
            merged.terms.limit = terms.limit;
        }
        // A calendar is one thing: a cadence of one and a zone of the other is nobody's wish.
        if (before.cadence, &before.zone) != (terms.cadence, &terms.zone) {
            (merged.terms.cadence, merged.terms.zone) = (terms.cadence, Arc::clone(&terms.zone));
        }
        if before.hard != terms.hard {
            merged.terms.hard = terms.hard;
        }
        if was.limit_set != now.limit_set {
            merged.limit_set = now.limit_set;
        }
        if was.frozen != now.frozen {
            merged.frozen = now.frozen;
        }
        if was.reset_at_ms != now.reset_at_ms {
            merged.reset_at_ms = now.reset_at_ms.max(merged.reset_at_ms);
        }
        merged
    }

    /// Where that limit comes from.
    pub const fn source(&self) -> Source {
        if self.limit_set.is_some() { Source::Console } else { Source::Local }
    }
}
