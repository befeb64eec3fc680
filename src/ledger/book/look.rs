//! Questions to the book that change nothing, not even its clock.

use super::Book;
use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId};
use crate::ledger::standing::{Room, Standing};

impl Book {
    /// How an account stands at that instant. `None` if there is no such account.
    pub fn standing(&self, account: AccountId, at_ms: i64) -> Option<Standing> {
        let holder = self.tree.get(account)?;
        let amounts = holder.present(self.now_ms.max(at_ms));
        let account = &holder.account;
        let parent = account.parent.and_then(|parent| self.tree.get(parent));
        let limit = account.limit();
        Some(Standing {
            id: account.id,
            key: account.key.clone(),
            parent: parent.map(|parent| parent.account.key.clone()),
            limit,
            source: account.source(),
            spent: NanoUsd(amounts.spent),
            held: NanoUsd(amounts.held),
            remaining: limit.map(|limit| NanoUsd(amounts.room(limit.0))),
            cadence: account.terms.cadence,
            start_ms: amounts.span.start_ms,
            end_ms: amounts.span.end_ms,
            hard: account.terms.hard,
            frozen: account.frozen,
            reset_at_ms: account.reset_at_ms,
        })
    }

    /// What the limits above a leaf leave. `None` if nothing on its path is limited.
    pub fn room(&self, leaf: AccountId, at_ms: i64) -> Option<Room> {
        let now_ms = self.now_ms.max(at_ms);
        let mut room: Option<Room> = None;
        for holder in self.tree.line(leaf) {
            let Some(limit) = holder.account.limit() else { continue };
            let remaining = NanoUsd(holder.present(now_ms).room(limit.0));
            let found = room.get_or_insert(Room { tightest: remaining, limit, remaining });
            found.tightest = found.tightest.min(remaining);
        }
        room
    }

    /// All accounts, by number.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.tree.all().into_iter().map(|holder| &holder.account)
    }

    /// How many accounts are in memory.
    pub fn size(&self) -> usize {
        self.tree.size()
    }

    /// Whether any account of the path has a limit.
    pub fn path_is_limited(&self, leaf: AccountId) -> bool {
        self.tree.line(leaf).any(|holder| holder.account.limit().is_some())
    }

    /// Whether any account of the path has a limit that must not be exceeded.
    pub fn is_strict(&self, leaf: AccountId) -> bool {
        self.tree.line(leaf).any(|holder| holder.cap().is_some())
    }

    /// The nearest account of the path that is frozen.
    pub fn frozen(&self, leaf: AccountId) -> Option<&Account> {
        self.tree.line(leaf).map(|holder| &holder.account).find(|account| account.frozen)
    }

    /// How many holds are open.
    pub fn open_holds(&self) -> usize {
        self.holds.len()
    }
}
