//! Mock providers: `OpenAI` Chat, Responses, embeddings, Anthropic Messages, with faults on demand.
//!
//! [`server::Upstream`] listens and answers, [`seen::Seen`] tells a test what arrived, and
//! [`fault`] documents the model-name grammar and the headers that ask for faults. A surface
//! (`chat`, `messages`, `responses`, `plain`) turns an [`ask::Ask`] into frames, `answer` cuts,
//! stalls or breaks them into steps, `play` sends the steps. `count` and `price` say what an answer
//! costs, and [`bill::Bill`] keeps it, for comparison with the gateway's own books. Nothing here checks credentials,
//! enforces limits or contacts another host.

pub mod answer;
pub mod ask;
pub mod bill;
pub mod chat;
pub mod count;
pub mod desk;
pub mod fault;
pub mod manner;
pub mod messages;
pub mod odd;
pub mod plain;
pub mod play;
pub mod price;
pub mod refuse;
pub mod responses;
pub mod seen;
pub mod server;
pub mod tap;
