//! Floor 5: the long-lived parts: the current configuration, what reloads it, and what keeps records.
//!
//! No sockets: they come in through floor 6, which also runs the tasks of this one.

pub mod bookkeeper;
pub mod live;
pub mod recorder;
pub mod reloader;
pub mod runaways;
pub mod scribe;
pub mod source;
pub mod trust;
pub mod watch;
