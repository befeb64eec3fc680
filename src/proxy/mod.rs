//! Floor 7: the data plane on Pingora. Callbacks carry bytes and effects; every decision is made by
//! `exchange`. Pingora is named in this room only.

pub mod background;
pub mod collect;
pub mod ctx;
pub mod doorman;
pub mod farewell;
pub mod funds;
pub mod guards;
pub mod heads;
pub mod held;
pub mod infer;
pub mod inflate;
pub mod intake;
pub mod local;
pub mod operator;
pub mod peer;
pub mod reply;
pub mod server;
pub mod service;
pub mod shared;
pub mod shorten;
pub mod upstream_request;
pub mod ward;
