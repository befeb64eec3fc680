//! What a period of another calendar begins with, made exact: the book counts all of a period that reaches
//! into the new one, and the ledger's entries say which part of it was spent since.
//!
//! It never makes the sum smaller than what the entries say. Where they do not say it plainly, or there
//! are too many of them, the book's sum stays.

use crate::base::limit::{CARRIED_ENTRIES_MAX, CARRIED_STRETCHES_MAX};
use crate::engine::bookkeeper::Tray;
use crate::engine::scribe::{Desk, OnDesk};
use crate::ledger::entry::{Entry, Reason, Step};
use crate::ledger::saved::Stretch;
use crate::store::Store;

/// Lets the scribe look at what the book has counted too generously, when it has time.
pub(super) fn put(tray: &mut Tray, stretches: Vec<Stretch>) {
    // The levels may be others as well: a turn of the scribe looks at them, also where there is nothing else.
    tray.errands.push(Box::new(|_, _| {}));
    for stretch in stretches {
        if tray.stretches.len() >= CARRIED_STRETCHES_MAX {
            warn(&stretch);
        } else {
            tray.stretches.push_back(stretch);
        }
    }
}

/// Looks at the next one, and at no more: holds that have come meanwhile are written before the one after it.
pub(super) fn refine_next(store: &mut dyn Store, desk: &Desk) {
    let next = desk.lock().tray.stretches.pop_front();
    if let Some(stretch) = next {
        refine(store, desk, &stretch);
    }
}

fn warn(stretch: &Stretch) {
    tracing::warn!(
        account = stretch.account.0,
        counted = stretch.counted,
        "the new period counts all that was spent in the one before it"
    );
}

fn refine(store: &mut dyn Store, desk: &Desk, stretch: &Stretch) {
    let stored = match store.spent_within(stretch, CARRIED_ENTRIES_MAX) {
        Ok(Some(stored)) => stored,
        Ok(None) => return warn(stretch),
        Err(error) => return tracing::error!(%error, "what was spent before cannot be read"),
    };
    let at_ms = desk.unix_ms();
    let mut desk = desk.lock();
    let OnDesk { book, tray } = &mut *desk;
    let waiting = tray.in_hand.iter().chain(tray.waiting.iter().map(|waiting| &waiting.entry));
    let unwritten: i64 = waiting.filter_map(|entry| spent_by(entry, stretch)).sum();
    let exact = stored.saturating_add(unwritten);
    if let Some(entry) = book.carry_less(stretch, exact, at_ms) {
        tray.put(entry);
    }
}

/// What an entry that is not in the store yet adds.
fn spent_by(entry: &Entry, stretch: &Stretch) -> Option<i64> {
    // Entries of one millisecond are told apart by the period into which they were booked.
    let is_of = |step: &Step| {
        step.account == stretch.account
            && (stretch.start_ms..stretch.until_ms).contains(&step.start_ms)
    };
    let counts = (stretch.from_ms..=stretch.into_ms).contains(&entry.at_ms)
        && entry.reason != Reason::Carried
        && entry.path.iter().any(is_of);
    (counts && entry.spent > 0).then_some(entry.spent)
}
