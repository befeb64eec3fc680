//! The chain of entries: each entry's hash covers the hash before it, so that no entry of the past can
//! be changed, taken out or put in without changing every hash after it.
//!
//! The encoding is injective: every number has a fixed width, every text its length in front, every
//! option a mark. What the store keeps beside the entries (balances) is not covered; it follows from them.

use sha2::{Digest, Sha256};

use crate::ledger::account::Account;
use crate::ledger::entry::{Entry, Step, Tokens};

/// What stands before the first entry.
pub const GENESIS: [u8; 32] = [0; 32];

/// The version of the encoding, hashed with every entry: a later one can never be mistaken for this.
const VERSION: u8 = 1;
/// That of an entry with a provider's name for the attempt, which stands behind all else.
const VERSION_NAMED: u8 = 2;

/// The hash of `entry` after an entry whose hash was `prev`.
pub fn next(prev: &[u8; 32], entry: &Entry) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(prev);
    encode(entry, &mut bytes);
    Sha256::digest(&bytes).into()
}

/// Appends the canonical form of `entry`.
fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let version = if entry.generation.is_some() { VERSION_NAMED } else { VERSION };
    out.extend_from_slice(&[version, entry.kind.code(), entry.reason.code(), entry.attempt]);
    for number in [entry.at_ms, entry.held, entry.spent] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&entry.price_version.to_le_bytes());
    option(out, entry.hold, |out, hold| out.extend_from_slice(&hold.0.to_le_bytes()));
    option(out, entry.request, |out, id| out.extend_from_slice(&id.bits().to_le_bytes()));
    option(out, entry.model.as_deref(), text);
    option(out, entry.tokens.as_ref(), tokens);
    length(out, entry.path.len());
    for step in entry.path.iter() {
        self::step(out, step);
    }
    option(out, entry.account.as_deref(), account);
    if let Some(generation) = entry.generation.as_deref() {
        text(out, generation);
    }
}

fn step(out: &mut Vec<u8>, step: &Step) {
    out.extend_from_slice(&step.account.0.to_le_bytes());
    out.extend_from_slice(&step.start_ms.to_le_bytes());
    out.extend_from_slice(&step.end_ms.to_le_bytes());
    option(out, step.cap, |out, cap| out.extend_from_slice(&cap.0.to_le_bytes()));
}

fn tokens(out: &mut Vec<u8>, tokens: &Tokens) {
    let Tokens { input, cache_read, cache_write, cache_write_1h, output, reasoning } = tokens;
    for count in [input, cache_read, cache_write, cache_write_1h, output, reasoning] {
        out.extend_from_slice(&count.to_le_bytes());
    }
}

fn account(out: &mut Vec<u8>, account: &Account) {
    let Account { id, key, parent, terms, limit_set, frozen, reset_at_ms } = account;
    out.extend_from_slice(&id.0.to_le_bytes());
    text(out, key.as_str());
    option(out, *parent, |out, parent| out.extend_from_slice(&parent.0.to_le_bytes()));
    option(out, terms.limit, |out, limit| out.extend_from_slice(&limit.0.to_le_bytes()));
    text(out, terms.cadence.name());
    text(out, &terms.zone);
    out.extend_from_slice(&[u8::from(terms.hard), u8::from(*frozen)]);
    option(out, *limit_set, |out, limit| out.extend_from_slice(&limit.0.to_le_bytes()));
    option(out, *reset_at_ms, |out, at_ms| out.extend_from_slice(&at_ms.to_le_bytes()));
}

fn option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::id::RequestId;
    use crate::base::money::NanoUsd;
    use crate::ledger::account::{AccountId, AccountKey, Cadence, Terms};
    use crate::ledger::entry::{HoldId, Kind, Reason};

    fn an_account() -> Account {
        Account {
            id: AccountId(7),
            key: AccountKey::agent("builder"),
            parent: Some(AccountId(1)),
            terms: Terms {
                limit: Some(NanoUsd(5)),
                cadence: Cadence::Daily,
                zone: Arc::from("UTC"),
                hard: true,
            },
            limit_set: None,
            frozen: false,
            reset_at_ms: None,
        }
    }

    fn an_entry() -> Entry {
        let step = Step { account: AccountId(7), start_ms: 1, end_ms: 2, cap: Some(NanoUsd(9)) };
        Entry {
            at_ms: 1_700_000_000_000,
            kind: Kind::Hold,
            hold: Some(HoldId::new(3, 4)),
            path: Arc::from([step]),
            held: 5,
            spent: 0,
            request: Some(RequestId::from_bits(6)),
            attempt: 1,
            model: Some(Arc::from("first")),
            price_version: 8,
            tokens: Some(Tokens::default()),
            generation: None,
            reason: Reason::Admitted,
            account: Some(Arc::new(an_account())),
            was: None,
        }
    }

    /// Every way in which one field can differ from `an_entry`.
    fn changes() -> Vec<Entry> {
        let change = |f: &dyn Fn(&mut Entry)| {
            let mut entry = an_entry();
            f(&mut entry);
            entry
        };
        let with_step = |f: &dyn Fn(&mut Step)| {
            let mut entry = an_entry();
            let mut step = entry.path[0];
            f(&mut step);
            entry.path = Arc::from([step]);
            entry
        };
        let with_account = |f: &dyn Fn(&mut Account)| {
            let mut entry = an_entry();
            let mut account = an_account();
            f(&mut account);
            entry.account = Some(Arc::new(account));
            entry
        };
        let with_tokens = |tokens: Tokens| change(&|entry| entry.tokens = Some(tokens));
        vec![
            change(&|entry| entry.at_ms += 1),
            change(&|entry| entry.kind = Kind::Spend),
            change(&|entry| entry.hold = None),
            change(&|entry| entry.hold = Some(HoldId::new(3, 5))),
            change(&|entry| entry.path = Arc::from([])),
            change(&|entry| entry.path = Arc::from([entry.path[0], entry.path[0]])),
            change(&|entry| entry.held = 0),
            change(&|entry| entry.spent = 5),
            change(&|entry| entry.request = None),
            change(&|entry| entry.request = Some(RequestId::from_bits(7))),
            change(&|entry| entry.attempt = 2),
            change(&|entry| entry.model = None),
            change(&|entry| entry.model = Some(Arc::from("firs"))),
            change(&|entry| entry.price_version = 0),
            change(&|entry| entry.tokens = None),
            change(&|entry| entry.reason = Reason::Exact),
            change(&|entry| entry.generation = Some(Arc::from("gen-1"))),
            change(&|entry| entry.generation = Some(Arc::from("gen-"))),
            change(&|entry| entry.account = None),
            with_step(&|step| step.account = AccountId(8)),
            with_step(&|step| step.start_ms = 0),
            with_step(&|step| step.end_ms = 3),
            with_step(&|step| step.cap = None),
            with_step(&|step| step.cap = Some(NanoUsd(8))),
            with_tokens(Tokens { input: 1, ..Tokens::default() }),
            with_tokens(Tokens { cache_read: 1, ..Tokens::default() }),
            with_tokens(Tokens { cache_write: 1, ..Tokens::default() }),
            with_tokens(Tokens { cache_write_1h: 1, ..Tokens::default() }),
            with_tokens(Tokens { output: 1, ..Tokens::default() }),
            with_tokens(Tokens { reasoning: 1, ..Tokens::default() }),
            with_account(&|account| account.id = AccountId(8)),
            with_account(&|account| account.key = AccountKey::agent("builde")),
            with_account(&|account| account.parent = None),
            with_account(&|account| account.terms.limit = None),
            with_account(&|account| account.terms.cadence = Cadence::Hourly),
            with_account(&|account| account.terms.zone = Arc::from("Europe/Berlin")),
            with_account(&|account| account.terms.hard = false),
            with_account(&|account| account.limit_set = Some(NanoUsd(5))),
            with_account(&|account| account.frozen = true),
            with_account(&|account| account.reset_at_ms = Some(0)),
        ]
    }

    #[test]
    fn every_field_counts_and_no_two_entries_share_a_form() {
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for entry in changes().into_iter().chain([an_entry()]) {
            let mut form = Vec::new();
            encode(&entry, &mut form);
            assert!(!forms.contains(&form), "{entry:?}");
            forms.push(form);
        }
    }

    #[test]
    fn what_came_before_counts() {
        let first = next(&GENESIS, &an_entry());
        assert_ne!(first, next(&first, &an_entry()));
        assert_eq!(first, next(&GENESIS, &an_entry()));
    }

    /// Ledgers that exist hold hashes of this form: a change of it needs a new version.
    #[test]
    fn the_form_stays() {
        let hash = next(&GENESIS, &an_entry());
        let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        assert_eq!(hex, "215ce1a0211b0724d195c37a42ffa0956cfcb0aeaea86c6920fb05936847446a");
    }
}
