//! Floor 4: what is kept for ever. One trait of few verbs, so that another engine can take the place of
//! the embedded one without the book noticing.
//!
//! A store keeps entries and the balances that follow from them; it decides nothing about money but the
//! one thing that only it can see: whether a hold still fits when several processes share it.

pub mod export;
pub mod lock;
pub mod pins;
pub mod registry;
pub mod replay;
pub mod sqlite;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod ward;

use crate::ledger::account::{Account, AccountId, AccountKey};
use crate::ledger::entry::{Entry, HoldId};
use crate::ledger::level::Told;
use crate::ledger::saved::{Balance, Kept, News, OpenHold, Saved, Stretch};

/// A durable ledger. All calls block and come from one thread.
pub trait Store: Send {
    /// Begins an epoch and gives everything that a book needs, but for `Saved::open`.
    fn open_epoch(&mut self) -> Result<Saved, StoreError>;

    /// The holds that earlier epochs have left open, and the balances of the periods that they lie in.
    /// `None` as long as another process is still at work on the ledger: they are its own to settle.
    fn orphans(&mut self) -> Result<Option<Orphans>, StoreError>;

    /// Keeps all of `entries`, in order, in one durable transaction, and says what became of each.
    /// Of an account what has changed is kept: what another process has changed meanwhile stays.
    /// After an error none of them is kept, as far as the store knows; the same batch may be tried again.
    fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Kept>, StoreError>;

    /// How the accounts and balances are now that entries of another process have changed since the start
    /// or the last call of `refresh`, with those changed by our own meanwhile; `None` if there are none. Right
    /// after a transaction that found nothing new it may be `None` all the same, and told the next time.
    fn refresh(&mut self) -> Result<Option<News>, StoreError>;

    /// An account that was not given at the start (a session of long ago), with its latest balance.
    fn account(
        &mut self,
        key: &AccountKey,
    ) -> Result<Option<(Account, Option<Balance>)>, StoreError>;

    /// Holds in limbo, oldest first, at most `max`.
    fn limbo(&mut self, max: usize) -> Result<Vec<OpenHold>, StoreError>;

    /// Holds in limbo that their providers have named, made at `since_ms` or later, at most `max`.
    fn named(&mut self, since_ms: i64, max: usize) -> Result<Vec<OpenHold>, StoreError>;

    /// One hold that is open or in limbo.
    fn hold(&mut self, hold: HoldId) -> Result<Option<OpenHold>, StoreError>;

    /// At most what an account has spent within a stretch by its entries, of which `max` are read; `None` if
    /// there are more of them since then, or if somebody has set what is spent meanwhile.
    fn spent_within(&mut self, stretch: &Stretch, max: u32) -> Result<Option<i64>, StoreError>;

    /// What was told to people of an account. `None` if nothing was.
    fn told(&mut self, account: AccountId) -> Result<Option<Told>, StoreError>;

    /// Keeps what is told of an account from now on, if what is kept is still `was`. `false` if it is not:
    /// another process has told something.
    fn tell(
        &mut self,
        account: AccountId,
        was: Option<&Told>,
        now: &Told,
    ) -> Result<bool, StoreError>;

    /// Says that the present epoch has settled everything it held.
    fn close_epoch(&mut self) -> Result<(), StoreError>;
}

/// What earlier processes left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Their open holds, oldest first.
    pub holds: Vec<OpenHold>,
    /// The balances of the periods that those lie in.
    pub balances: Vec<Balance>,
}

/// Why a store does not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses it.
    #[error("{path} belongs to another process of this gateway ({detail})")]
    Taken {
        /// Where it lies.
        path: String,
        /// What is known of the other one.
        detail: String,
    },
    /// It was written by a newer version.
    #[error("{path} was written by a newer version (schema {found}, this program knows {known})")]
    Newer {
        /// Where it lies.
        path: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another process has opened an account of the same name, or under the same number.
    #[error("{path}: account {} cannot be stored beside the one that is there", wanted.0)]
    Clash {
        /// Where the ledger lies.
        path: String,
        /// The number of the new one.
        wanted: AccountId,
        /// The number under which the store has that name; `None` if it has the number for another one.
        same: Option<AccountId>,
        /// A number larger than that of every stored account.
        free: AccountId,
    },
    /// It is damaged, or not a ledger at all.
    #[error("{path} is not a ledger that can be used: {detail}")]
    Corrupt {
        /// Where it lies.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// It cannot be read or written: full disk, missing rights, broken device.
    #[error("{path} cannot be used: {detail}")]
    Unusable {
        /// Where it lies.
        path: String,
        /// What the engine says.
        detail: String,
    },
}
