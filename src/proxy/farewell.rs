//! The end of a stop's grace: whoever still waits for a provider is woken, so that his answer ends in words and
//! not in a connection that is cut.
//!
//! Each exchange takes a seat here before its first attempt, by its gate, and gives it back when it ends: two short
//! locks for a request, and nothing at all for the pieces of its stream. What is said to clients, and how it is
//! settled, is the business of `ctx`; when the time has come is that of `background`.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::proxy::held::Gate;

/// Whom to tell that the process is about to end.
#[derive(Default)]
pub struct Farewell {
    seats: Mutex<Seats>,
}

/// As many as requests were ever open at a time, which `server.requests_max` bounds.
#[derive(Default)]
struct Seats {
    gates: Vec<Option<Arc<Gate>>>,
    free: Vec<usize>,
    is_said: bool,
}

impl Farewell {
    /// Notes that somebody waits behind that gate. Who comes when everybody has been told is told at once.
    pub fn attend(self: &Arc<Self>, gate: &Arc<Gate>) -> Seat {
        let mut seats = self.seats.lock();
        let at = seats.free.pop().unwrap_or_else(|| {
            seats.gates.push(None);
            seats.gates.len() - 1
        });
        if let Some(seat) = seats.gates.get_mut(at) {
            *seat = Some(Arc::clone(gate));
        }
        let is_said = seats.is_said;
        drop(seats);
        if is_said {
            gate.leave();
        }
        Seat { farewell: Arc::clone(self), at }
    }

    /// Ends every wait, also those that are still to begin. How many were told.
    pub fn say(&self) -> usize {
        let gates: Vec<Arc<Gate>> = {
            let mut seats = self.seats.lock();
            seats.is_said = true;
            seats.gates.iter().flatten().cloned().collect()
        };
        for gate in &gates {
            gate.leave();
        }
        gates.len()
    }
}

/// One who is to be told.
pub struct Seat {
    farewell: Arc<Farewell>,
    at: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.farewell.seats.lock();
        if let Some(seat) = seats.gates.get_mut(self.at) {
            *seat = None;
            seats.free.push(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_once_and_who_comes_later_at_once() {
        let farewell = Arc::new(Farewell::default());
        let gates: [Arc<Gate>; 3] = Default::default();
        let seats: Vec<Seat> = gates.iter().map(|gate| farewell.attend(gate)).collect();
        assert!(gates.iter().all(|gate| !gate.is_leaving()));
        assert_eq!(farewell.say(), 3);
        assert!(gates.iter().all(|gate| gate.is_leaving()));
        drop(seats);
        assert_eq!(farewell.say(), 0);
        let late = Arc::default();
        let _seat = farewell.attend(&late);
        assert!(late.is_leaving());
    }

    #[test]
    fn seats_are_taken_again_and_who_has_gone_is_not_told() {
        let farewell = Arc::new(Farewell::default());
        let (first, second): (Arc<Gate>, Arc<Gate>) = Default::default();
        let seat = farewell.attend(&first);
        for _ in 0..9 {
            drop(farewell.attend(&second));
        }
        assert_eq!(farewell.seats.lock().gates.len(), 2);
        drop(seat);
        let _seat = farewell.attend(&second);
        assert_eq!(farewell.seats.lock().gates.len(), 2);
        assert_eq!(farewell.say(), 1);
        assert!(second.is_leaving() && !first.is_leaving());
    }
}
