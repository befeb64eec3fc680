//! The store of the model in small: sums, open holds, and what a real one refuses.
//!
//! It cannot fail by itself; `model` decides what reaches it.

use std::collections::BTreeMap;
use std::hash::Hash;

use super::*;
use crate::ledger::saved::Kept;

/// What survives a crash: sums over the entries that were kept, and the holds that are not settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) accounts: BTreeMap<AccountId, Account>,
    balances: BTreeMap<AccountId, Balance>,
    pub(super) open: BTreeMap<HoldId, OpenHold>,
    epoch: u32,
}

impl Shelf {
    /// All that can differ between two of them.
    pub(super) fn essence(&self) -> impl Hash + PartialEq {
        let sums = |balance: &Balance| (balance.account, balance.spent, balance.held);
        let balances = self.balances.values().map(sums);
        let open = self.open.values().map(|open| (open.hold, open.made.held, open.limbo));
        (self.epoch, balances.collect::<Vec<_>>(), open.collect::<Vec<_>>())
    }

    pub(super) fn sums(&self, account: AccountId) -> (i64, i64) {
        self.balances.get(&account).map_or((0, 0), |balance| (balance.spent, balance.held))
    }

    pub(super) fn keep(&mut self, entry: &Entry) -> Kept {
        let limbo = entry.hold.and_then(|hold| self.open.get(&hold)).map(|open| open.limbo);
        let fits = |step: &Step| {
            let (spent, held) = self.sums(step.account);
            step.cap.is_none_or(|cap| spent + held + entry.held <= cap.0)
        };
        match entry.kind {
            Kind::Hold if !entry.path.iter().all(fits) => return Kept::NoRoom,
            Kind::Settle | Kind::Void | Kind::Limbo if limbo != Some(false) => {
                return Kept::NotOpen;
            }
            Kind::Refund if limbo != Some(true) => return Kept::NotOpen,
            _ => {}
        }
        self.add(entry);
        Kept::Done
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        for step in entry.path.iter() {
            let Step { account, start_ms, end_ms, .. } = *step;
            let none = Balance { account, start_ms, end_ms, spent: 0, held: 0 };
            let balance = self.balances.entry(account).or_insert(none);
            balance.spent += entry.spent;
            balance.held += entry.held;
        }
        if let Some(account) = &entry.account {
            self.accounts.insert(account.id, Account::clone(account));
        }
        let Some(hold) = entry.hold else { return };
        match entry.kind {
            Kind::Hold => {
                let (path, made) = (Arc::clone(&entry.path), entry.clone());
                self.open.insert(
                    hold,
                    OpenHold { hold, path, made, generation: None, booked: None, limbo: false },
                );
            }
            Kind::Limbo => self.open.get_mut(&hold).unwrap().limbo = true,
            _ => drop(self.open.remove(&hold)),
        }
    }

    pub(super) fn open_epoch(&mut self) -> Saved {
        self.epoch += 1;
        Saved {
            epoch: self.epoch,
            next_account: AccountId(0),
            accounts: self.accounts.values().cloned().collect(),
            balances: self.balances.values().copied().collect(),
            open: self.open.values().cloned().collect(),
            ..Saved::default()
        }
    }
}
