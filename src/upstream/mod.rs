//! Floor 2: the providers behind the gateway. Where a request goes, when an endpoint rests, and
//! which failures call for the next candidate. No sockets, no clock.

pub mod authorities;
pub mod breaker;
pub mod kind;
pub mod provider;
pub mod reach;
pub mod retry;
pub mod target;
