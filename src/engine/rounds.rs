//! A thread that looks at something every so often, and can be ended within a bound.
//!
//! What it does in a round is its owner's business; a round may take a while, and the end of the process
//! does not wait for it for ever.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::base::limit::{OUTGOING_LAST_WAIT_MS, OUTGOING_LOOK_MS};

/// The thread's handle. Dropping it ends the thread.
pub struct Rounds {
    gate: Arc<Gate>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Which round it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Others follow.
    Usual,
    /// The last one, to put away what is open; somebody waits for it.
    Last,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    ended: bool,
}

/// Says that the thread has ended, also if it panicked.
struct Ending(Arc<Gate>);

impl Rounds {
    /// Starts a thread of that name, which begins with a round at once.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(name: &str, mut round: impl FnMut(Round) + Send + 'static) -> io::Result<Self> {
        let gate = Arc::new(Gate::default());
        let ending = Ending(Arc::clone(&gate));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                round(Round::Usual);
                if !ending.0.pause() {
                    break;
                }
            }
            round(Round::Last);
        })?;
        Ok(Self { gate, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread after a last round; waits for that, but not for ever.
    pub fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        let until = Instant::now() + Duration::from_millis(OUTGOING_LAST_WAIT_MS);
        let mut state = self.gate.state.lock();
        state.closed = true;
        self.gate.bell.notify_all();
        while !state.ended {
            if self.gate.bell.wait_until(&mut state, until).timed_out() {
                tracing::warn!(thread = thread.thread().name(), "left in the middle of a call");
                return;
            }
        }
        drop(state);
        // It has said that it is at its end; a panic over there has been reported already.
        let _ = thread.join();
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Gate {
    /// Waits for the next look. False at the end.
    fn pause(&self) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + Duration::from_millis(OUTGOING_LOOK_MS);
        while !state.closed {
            if self.bell.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        !state.closed
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.bell.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_begins_at_once_and_ends_with_a_last_round() {
        let (tell, told) = channel();
        let rounds = Rounds::start("test", move |round| tell.send(round).unwrap()).unwrap();
        assert_eq!(told.recv(), Ok(Round::Usual));
        let before = Instant::now();
        rounds.stop();
        assert!(before.elapsed() < Duration::from_millis(OUTGOING_LAST_WAIT_MS));
        assert_eq!(told.iter().last(), Some(Round::Last));
        rounds.stop();
    }

    #[test]
    fn a_round_that_stands_still_does_not_hold_up_the_end() {
        let (tell, told) = channel();
        let (open, gate) = channel::<()>();
        let rounds = Rounds::start("test", move |_| {
            tell.send(()).unwrap();
            // Ends with the test, which drops the other end.
            let _ = gate.recv();
        })
        .unwrap();
        told.recv().unwrap();
        let before = Instant::now();
        rounds.stop();
        let bound = Duration::from_millis(OUTGOING_LAST_WAIT_MS);
        assert!(before.elapsed() >= bound && before.elapsed() < bound * 5);
        drop(open);
    }

    #[test]
    fn a_panic_is_an_end_too() {
        let rounds = Rounds::start("test", |_| panic!("as the test wants it")).unwrap();
        let before = Instant::now();
        rounds.stop();
        assert!(before.elapsed() < Duration::from_millis(OUTGOING_LAST_WAIT_MS));
    }
}
