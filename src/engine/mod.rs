//! Floor 5: the long-lived parts: the current configuration, what reloads it, what keeps records and the
//! book, and the calls that the gateway makes by itself.
//!
//! No listener: requests come in through floors 6 and 7, which also run the tasks of this one.

pub mod accounts;
pub mod auditor;
pub mod bookkeeper;
pub mod caller;
pub mod carrying;
pub mod clock;
pub mod console;
pub mod descriptors;
pub mod limbo;
pub mod live;
pub mod lookup;
pub mod outbox;
pub mod paces;
pub mod pin_keeper;
pub mod pins;
pub mod recorder;
pub mod reloader;
pub mod rounds;
pub mod runaways;
pub mod scribe;
pub mod sentry;
pub mod source;
pub mod statistics;
pub mod trust;
pub mod warden;
pub mod watch;
