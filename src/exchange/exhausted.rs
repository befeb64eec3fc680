//! Refusals for want of money: their words, and the fields that clients of the seed read (S0-09).
//!
//! The amounts shown are the agent's own. Which account refused is named, but what a team or the fleet
//! has left is known to administrators only: it would tell one agent what the others spend. That
//! something is refused is decided by `ledger::book` and `purse`.

use crate::base::fault::{Code, Fault};
use crate::base::money::NanoUsd;
use crate::exchange::Exchange;
use crate::ledger::account::{AccountKey, Node};
use crate::ledger::hold::Refusal;
use crate::ledger::standing::Standing;
use crate::wire::json::quote_into;

/// What the agent might have been served with.
#[derive(Clone, Debug, Default)]
pub struct Offer<'a> {
    /// The models that its budget allowed, in order.
    pub models: Vec<&'a str>,
    /// The place of their tier, if money chose.
    pub tier: Option<usize>,
}

/// The refusal of a hold that the book did not place.
pub fn refused(agent: &str, refusal: &Refusal) -> Fault {
    match refusal {
        Refusal::Frozen { account } => frozen(account),
        Refusal::Unknown { .. } => {
            Fault::new(Code::Overloaded, "the session's budget is being opened; try again")
        }
        Refusal::Exhausted { account, needed, standing } => {
            let fault = Fault::new(Code::BudgetExhausted, words(agent, *needed, standing));
            of_account(fault, account)
        }
    }
}

/// Why there was no room. Only what belongs to the agent alone is said in figures.
fn words(agent: &str, needed: NanoUsd, standing: &Standing) -> String {
    let account = &standing.key;
    if matches!(account.node(), Node::Fleet | Node::Team) {
        return format!(
            "the budget of {account}, which `{agent}` shares, has no room for this request, which may cost \
             {needed} USD"
        );
    }
    let left = standing.remaining.unwrap_or_default();
    if left.0 <= 0 {
        return format!("the budget of {account} is used up");
    }
    format!("the budget of {account} has {left} USD left, and this request may cost {needed} USD")
}

/// The refusal for an agent that may not spend at all at present.
pub fn frozen(account: &AccountKey) -> Fault {
    let message = format!("{account} is frozen; an administrator can thaw it");
    of_account(Fault::new(Code::BudgetExhausted, message), account)
        .extra("frozen", "true".to_owned())
}

/// The refusal for an agent that seems to have lost its way.
pub fn stopped(sign: &str) -> Fault {
    let message = format!(
        "this agent was stopped because it seems to have lost its way ({sign}); an administrator can thaw it, \
         and it can go on by itself when it has been quiet for a while"
    );
    Fault::new(Code::BudgetExhausted, message).extra("runaway", json_text(sign))
}

/// The refusal where the store knows of spending that the book of this process did not: the money is
/// gone, so it is no lack of ours that a client should wait out.
pub fn elsewhere() -> Fault {
    Fault::new(Code::BudgetExhausted, "the budget is used up by requests at another process")
}

/// Names the account that refused, and which kind of node it is.
fn of_account(fault: Fault, account: &AccountKey) -> Fault {
    fault
        .extra("account", json_text(account.as_str()))
        .extra("scope", json_text(account.node().name()))
}

/// Adds how the agent's own account stands: what has no limit has no amounts to show but its spend.
pub fn explained(
    fault: Fault,
    agent: &str,
    standing: Option<&Standing>,
    offer: &Offer<'_>,
) -> Fault {
    let usd = |amount: Option<NanoUsd>| amount.map_or_else(null, |usd| usd.to_string());
    let limit = standing.and_then(|standing| standing.limit);
    let left = standing.and_then(|standing| standing.remaining);
    let percent = limit.zip(left).map(|(limit, left)| percentage(left, limit));
    let is_used_up = fault.extra.iter().all(|(key, _)| *key != UNBOUNDED);
    fault
        .extra("agent_id", json_text(agent))
        .extra("budget_total", usd(limit))
        .extra("budget_spent", usd(standing.map(|standing| standing.spent)))
        .extra("budget_held", usd(standing.map(|standing| standing.held)))
        .extra("budget_remaining", usd(left))
        .extra("budget_percentage", percent.unwrap_or_else(null))
        .extra("current_tier", offer.tier.map_or_else(null, |at| at.to_string()))
        .extra("models_allowed", json_list(&offer.models))
        .extra("hard_cap", standing.is_none_or(|standing| standing.hard).to_string())
        .extra("exhausted", is_used_up.to_string())
}

/// A request that nobody can reckon beforehand, or not without its price: whatever is left, there is no budget
/// that it could be held against.
pub fn unbounded(message: String) -> Fault {
    Fault::new(Code::BudgetExhausted, message).extra(UNBOUNDED, "true".to_owned())
}

/// Says of a refusal that nothing is used up.
const UNBOUNDED: &str = "unbounded";

impl Exchange {
    /// A budget refusal with how the agent's own account stands, and what it might have been served with.
    pub fn explained(&self, fault: Fault, standing: Option<&Standing>) -> Fault {
        let models = self.plan.candidates.iter().filter_map(|one| self.model_of(one));
        let models = models.map(|model| &*model.id).collect();
        let offer = Offer { models, tier: self.plan.tier };
        explained(fault, &self.asked.principal.agent.id, standing, &offer)
    }
}

/// What is left of the limit, in percent with two digits after the point, rounded down.
pub fn percentage(left: NanoUsd, limit: NanoUsd) -> String {
    if limit.0 <= 0 || left.0 <= 0 {
        return "0".to_owned();
    }
    let hundredths = i128::from(left.0) * 10_000 / i128::from(limit.0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn null() -> String {
    "null".to_owned()
}

fn json_text(text: &str) -> String {
    let mut out = Vec::new();
    quote_into(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn json_list(names: &[&str]) -> String {
    format!("[{}]", names.iter().map(|name| json_text(name)).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::account::{AccountId, Cadence, Source};

    fn standing(key: AccountKey, limit: Option<i64>, spent: i64) -> Standing {
        Standing {
            id: AccountId(1),
            key,
            parent: None,
            limit: limit.map(NanoUsd),
            source: Source::Local,
            spent: NanoUsd(spent),
            held: NanoUsd(7),
            remaining: limit.map(|limit| NanoUsd(limit - spent - 7)),
            cadence: Cadence::None,
            start_ms: 0,
            end_ms: i64::MAX,
            hard: true,
            frozen: false,
            reset_at_ms: None,
        }
    }

    fn field<'a>(fault: &'a Fault, name: &str) -> &'a str {
        let mut found = fault.extra.iter().filter(|(key, _)| *key == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("{name} in {fault:?}"));
        assert!(found.next().is_none(), "{name} stands there once");
        value
    }

    #[test]
    fn a_shared_account_is_named_and_its_amounts_are_not() {
        let (own, team) = (AccountKey::agent("a"), AccountKey::team("t"));
        let theirs = standing(team.clone(), Some(123_456_789), 123_450_000);
        let refusal =
            Refusal::Exhausted { account: team, needed: NanoUsd(42), standing: Box::new(theirs) };
        let fault = refused("a", &refusal);
        assert!(fault.message.contains("team:t") && fault.message.contains("0.000000042"));
        let own = standing(own, Some(50_000_000_000), 1_000_000_000);
        let offer = Offer { models: vec!["m\""], tier: Some(2) };
        let fault = explained(fault, "a", Some(&own), &offer);
        assert_eq!((field(&fault, "account"), field(&fault, "scope")), ("\"team:t\"", "\"team\""));
        assert_eq!((field(&fault, "budget_total"), field(&fault, "budget_spent")), ("50", "1"));
        assert_eq!(field(&fault, "budget_remaining"), "48.999999993");
        assert_eq!(field(&fault, "budget_percentage"), "97.99");
        assert_eq!(
            (field(&fault, "models_allowed"), field(&fault, "current_tier")),
            ("[\"m\\\"\"]", "2")
        );
        let all = format!("{fault:?}");
        assert!(!all.contains("0.12345"), "{all}");
    }

    #[test]
    fn an_account_of_the_agents_own_is_shown_in_figures() {
        for key in [AccountKey::agent("a"), AccountKey::session("a", "s")] {
            let own = standing(key.clone(), Some(1_000_000_007), 0);
            let needed = NanoUsd(2_000_000_000);
            let refusal = Refusal::Exhausted { account: key, needed, standing: Box::new(own) };
            let fault = refused("a", &refusal);
            assert!(fault.message.contains("has 1 USD left"), "{}", fault.message);
        }
    }

    #[test]
    fn every_refusal_has_the_fields_of_the_seed() {
        let unlimited = standing(AccountKey::agent("a"), None, 5);
        for fault in [elsewhere(), stopped("repeats"), frozen(&AccountKey::fleet())] {
            for standing in [None, Some(&unlimited)] {
                let fault = explained(fault.clone(), "a", standing, &Offer::default());
                assert_eq!(fault.code, Code::BudgetExhausted);
                assert_eq!(field(&fault, "agent_id"), "\"a\"");
                assert_eq!(field(&fault, "exhausted"), "true");
                for name in
                    ["budget_total", "budget_remaining", "budget_percentage", "current_tier"]
                {
                    assert_eq!(field(&fault, name), "null", "{name}");
                }
                let spent = if standing.is_some() { "0.000000005" } else { "null" };
                assert_eq!(field(&fault, "budget_spent"), spent);
            }
        }
    }

    #[test]
    fn percentages_are_rounded_down() {
        let of = |left, limit| percentage(NanoUsd(left), NanoUsd(limit));
        assert_eq!(of(1, 3), "33.33");
        assert_eq!((of(0, 3), of(-1, 3), of(3, 0)), ("0".into(), "0".into(), "0".into()));
        assert_eq!(of(3, 3), "100.00");
    }
}
