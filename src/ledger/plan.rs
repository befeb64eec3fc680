//! What the configuration wants the tree of accounts to be. The book compares it with what the store
//! remembers, and writes an entry for every difference.

use crate::ledger::account::{AccountKey, Terms};

/// One account of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub key: AccountKey,
    /// The account that has to pay as well; it stands earlier in the plan.
    pub parent: Option<AccountKey>,
    /// What it may spend.
    pub terms: Terms,
}
