//! Random entries against a model: whatever was kept comes back, and `verify` agrees.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{AGENT, FLEET, Folder, blank, founding, hold, limbo, refund, settle, step};
use crate::ledger::entry::{Entry, HoldId, Kind, Reason};
use crate::ledger::saved::Kept;
use crate::store::Store;
use crate::store::replay::replay;
use crate::store::verify::verify;

const CAP: i64 = 100;

/// One step of a history: what is done, to which hold, how much.
#[derive(Clone, Copy, Debug)]
struct Move {
    kind: Kind,
    number: u64,
    amount: i64,
    /// Whether the batch ends here, and whether the process does.
    ends: (bool, bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let kinds = prop::sample::select(Kind::ALL[1..].to_vec());
    let one = (kinds, 0..6_u64, 0..60_i64, (any::<bool>(), prop::bool::weighted(0.1)));
    let one = one.prop_map(|(kind, number, amount, ends)| Move { kind, number, amount, ends });
    prop::collection::vec(one, 1..60)
}

/// What the store should know: balances, and the state of each hold.
#[derive(Default)]
struct Model {
    spent: i64,
    held: i64,
    open: BTreeMap<HoldId, (Entry, bool)>,
}

impl Model {
    /// The entry for a move, and what should become of it.
    fn apply(&mut self, todo: Move, epoch: u32) -> (Entry, Kept) {
        let id = HoldId::new(epoch, todo.number);
        let known = self.open.get(&id).cloned();
        let made = known.clone().map_or_else(|| hold(id, todo.amount, CAP), |(made, _)| made);
        let limboed = known.as_ref().map(|(_, limbo)| *limbo);
        let (entry, fits) = match todo.kind {
            Kind::Hold if known.is_some() => return (made, Kept::Done),
            Kind::Hold if self.spent + self.held + todo.amount > CAP => {
                return (made, Kept::NoRoom);
            }
            Kind::Hold => (made.clone(), true),
            Kind::Settle => (settle(&made, todo.amount), limboed == Some(false)),
            Kind::Void => {
                let void = Entry { kind: Kind::Void, ..settle(&made, 0) };
                (void, limboed == Some(false))
            }
            Kind::Limbo => (limbo(&made), limboed == Some(false)),
            Kind::Refund => (refund(&made, todo.amount.min(made.held)), limboed == Some(true)),
            kind => {
                let spent = if kind == Kind::Reset { -self.spent } else { todo.amount };
                let path = Arc::from([step(AGENT, Some(CAP)), step(FLEET, None)]);
                (Entry { path, spent, ..blank(kind, Reason::Admin) }, true)
            }
        };
        if !fits {
            return (entry, Kept::NotOpen);
        }
        self.spent += entry.spent;
        self.held += entry.held;
        match entry.kind {
            Kind::Hold => drop(self.open.insert(id, (entry.clone(), false))),
            Kind::Limbo => drop(self.open.insert(id, (made, true))),
            _ if entry.hold.is_some() => drop(self.open.remove(&id)),
            _ => {}
        }
        (entry, Kept::Done)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_back_is_what_was_kept(history in moves()) {
        let folder = Folder::new();
        let mut store = folder.own();
        let first = store.open_epoch().unwrap().epoch;
        store.commit(&founding()).unwrap();
        let mut model = Model::default();
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        for (at, todo) in history.iter().enumerate() {
            let (entry, kept) = model.apply(*todo, first);
            batch.push(entry);
            expected.push(kept);
            if todo.ends.0 || at + 1 == history.len() {
                prop_assert_eq!(store.commit(&batch).unwrap(), std::mem::take(&mut expected));
                batch.clear();
            }
            if todo.ends.1 && batch.is_empty() {
                drop(store);
                store = folder.own();
                let saved = store.open_epoch().unwrap();
                let orphans = store.orphans().unwrap().unwrap().holds;
                let limbo = store.limbo(usize::MAX).unwrap();
                let open: BTreeMap<_, _> = orphans.iter().chain(&limbo).map(|open| (open.hold, (open.made.clone(), open.limbo))).collect();
                prop_assert_eq!(&open, &model.open);
                for balance in &saved.balances {
                    prop_assert_eq!((balance.spent, balance.held), (model.spent, model.held));
                }
            }
        }
        drop(store);
        let found = verify(&folder.file()).unwrap();
        prop_assert!(found.broken.is_empty(), "{:?}", found.broken);
        prop_assert_eq!(replay(&folder.file()).unwrap(), Vec::<String>::new());
    }
}
