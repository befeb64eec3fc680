//! What a console says about budgets: reads its answer, and tells which limits it would change.
//!
//! `{"budgets": {"agent-1": {"budget_total": 50.0}}}`: names as `GET /api/spend` shows them, amounts as
//! number or text. All of the answer is good, or none of it counts. An entry without `budget_total` says
//! nothing, `null` takes the console's limit back, and every other member is passed over: what is spent is
//! the ledger's to know, and an older figure must not undo it.

use std::collections::BTreeMap;

use crate::base::limit::ID_HEADER_BYTES_MAX;
use crate::base::money::NanoUsd;
use crate::ledger::account::Source;
use crate::ledger::amount::{self, Amount, BadAmount};
use crate::ledger::standing::Standing;
use crate::wire::json;
use crate::wire::syntax::{Span, SyntaxError};

/// The limit that a console gives to each account it names; `None` = that of the configuration again.
pub type Limits = BTreeMap<String, Option<NanoUsd>>;

/// Why an answer counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It cannot be read at all.
    #[error("the answer is no JSON: {0}")]
    NotJson(SyntaxError),
    /// It is JSON of another shape.
    #[error("the answer has no object `budgets`")]
    NoBudgets,
    /// One budget is not an object.
    #[error("the budget of {0:?} is not an object")]
    NotObject(String),
    /// A name that is no text.
    #[error("a name in the answer is not text")]
    BadName,
    /// One budget has an amount that is none.
    #[error("the budget of {name:?}: {bad}")]
    Amount {
        /// Whose.
        name: String,
        /// What is wrong.
        bad: BadAmount,
    },
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it; nothing of it counts then.
pub fn read(answer: &[u8]) -> Result<Limits, BadAnswer> {
    let whole = json::check(answer).map_err(BadAnswer::NotJson)?;
    let budgets = json::find(answer, whole, "budgets").filter(|span| is_object(answer, *span));
    let budgets = budgets.ok_or(BadAnswer::NoBudgets)?;
    let mut limits = Limits::new();
    for member in json::members(answer, budgets) {
        let name = json::unescape(member.key.of(answer)).ok_or(BadAnswer::BadName)?;
        if !is_object(answer, member.value) {
            return Err(BadAnswer::NotObject(shortened(&name)));
        }
        let total = amount::member(answer, member.value, "budget_total");
        let total = total.map_err(|bad| BadAnswer::Amount { name: shortened(&name), bad })?;
        match total {
            Amount::Absent => {}
            Amount::Null => drop(limits.insert(name.into_owned(), None)),
            Amount::Usd(usd) => drop(limits.insert(name.into_owned(), Some(usd))),
        }
    }
    Ok(limits)
}

/// Whether an account would stand otherwise with that limit.
pub fn changes(standing: &Standing, limit: Option<NanoUsd>) -> bool {
    match limit {
        Some(_) => standing.source != Source::Console || standing.limit != limit,
        None => standing.source == Source::Console,
    }
}

/// A name of somebody else's, for a log line.
pub fn shortened(name: &str) -> String {
    name.chars().take(ID_HEADER_BYTES_MAX).collect()
}

fn is_object(text: &[u8], span: Span) -> bool {
    span.of(text).trim_ascii_start().first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::MoneyError;
    use crate::ledger::account::{AccountId, AccountKey, Cadence};
    use proptest::prelude::*;

    fn limits(text: &str) -> Vec<(String, Option<i64>)> {
        let read = read(text.as_bytes()).unwrap();
        read.into_iter().map(|(name, usd)| (name, usd.map(|usd| usd.0))).collect()
    }

    #[test]
    fn limits_are_read_and_the_rest_is_passed_over() {
        let text = r#" {"version": 7, "budgets": {
            "agent-1": {"budget_total": 50.0, "budget_spent": -1, "period": {"budget_total": 1}},
            "a\u0062": {"budget_total": "0.25"},
            "back": {"budget_total": null},
            "silent": {"budget_spent": 3},
            "twice": {"budget_total": 1}, "twice": {"budget_total": 2}}} "#;
        let expected = [
            ("ab", Some(250_000_000)),
            ("agent-1", Some(50_000_000_000)),
            ("back", None),
            ("twice", Some(2_000_000_000)),
        ];
        assert_eq!(limits(text), expected.map(|(name, usd)| (name.to_owned(), usd)));
        assert_eq!(limits(r#"{"budgets":{}}"#), []);
    }

    #[test]
    fn one_bad_budget_spoils_the_whole_answer() {
        let with = |entry: &str| {
            let text = format!(r#"{{"budgets":{{"good":{{"budget_total":1}},"bad":{entry}}}}}"#);
            read(text.as_bytes()).unwrap_err()
        };
        let amount = |why| BadAnswer::Amount {
            name: "bad".to_owned(),
            bad: BadAmount { field: "budget_total", why },
        };
        assert_eq!(with(r#"{"budget_total":-1}"#), amount(MoneyError::Negative));
        assert_eq!(with(r#"{"budget_total":"x"}"#), amount(MoneyError::NotDecimal));
        assert_eq!(with(r#"{"budget_total":1e-10}"#), amount(MoneyError::TooFine));
        assert_eq!(with("5"), BadAnswer::NotObject("bad".to_owned()));
        for text in ["[]", "5", "{}", r#"{"budgets":[]}"#, r#"{"budgets":null}"#] {
            assert_eq!(read(text.as_bytes()), Err(BadAnswer::NoBudgets), "{text}");
        }
        for text in
            ["", "{", "<html>", r#"{"budgets":{}}x"#, r#"{"budgets":{"a":{"budget_total":}}}"#]
        {
            assert!(matches!(read(text.as_bytes()), Err(BadAnswer::NotJson(_))), "{text}");
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let standing = |source, limit| Standing {
            id: AccountId(1),
            key: AccountKey::agent("a"),
            parent: None,
            limit,
            source,
            spent: NanoUsd(0),
            held: NanoUsd(0),
            remaining: limit,
            cadence: Cadence::None,
            start_ms: 0,
            end_ms: i64::MAX,
            hard: true,
            frozen: false,
            reset_at_ms: None,
        };
        let (one, two) = (Some(NanoUsd(1)), Some(NanoUsd(2)));
        let of_console = standing(Source::Console, one);
        assert!(!changes(&of_console, one) && changes(&of_console, two));
        assert!(changes(&of_console, None));
        let local = standing(Source::Local, one);
        assert!(changes(&local, one), "a reload could change it else");
        assert!(!changes(&local, None) && changes(&standing(Source::Local, None), one));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn amounts_come_through_exactly(nano in 0..=i64::MAX, name in "[a-z0-9-]{1,20}") {
            let text = format!(r#"{{"budgets":{{"{name}":{{"budget_total":{}}}}}}}"#, NanoUsd(nano));
            prop_assert_eq!(limits(&text), [(name, Some(nano))]);
        }
    }
}
