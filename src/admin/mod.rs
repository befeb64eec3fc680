//! Floor 6: the control API on its own listener: health, status, metrics, reload.
//!
//! `routes` is the one table of what exists; `http` serves it, `openapi` describes it, `handlers` does
//! the work without sockets, `access` says who may ask, `listener` bounds the connections. `figures` tells what
//! the last requests came to, `dashboard` is the page that shows it.

pub mod access;
pub mod ask;
pub mod dashboard;
pub mod figures;
pub mod guard;
pub mod guard_input;
pub mod handlers;
pub mod http;
pub mod listener;
pub mod money;
pub mod mutators;
pub mod openapi;
pub mod profiles;
pub mod routes;
pub mod routing;
pub mod switching;
