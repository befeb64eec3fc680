//! One attempt's request: the held body with this attempt's model in place, and who carries it where.
//!
//! Hot path: `benches/exchange.rs`. Only the changed places are new bytes; everything else of the body
//! is shared by all attempts and reaches the provider byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::base::fault::{Code, Fault};
use crate::base::limit::JOIN_BYTES_MAX;
use crate::base::surface::Surface;
use crate::config::catalog::Model;
use crate::exchange::asked::Asked;
use crate::upstream::provider::Provider;
use crate::wire::splice::{self, Edit};

/// Everything that one upstream request needs.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it goes.
    pub provider: Arc<Provider>,
    /// Path and query.
    pub target: String,
    /// The body in pieces, none of them empty.
    pub segments: Vec<Bytes>,
    /// The body's length in bytes.
    pub length: usize,
    /// The credential that goes with it: ours, or the client's own.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// Whether that credential, or the lack of any, is our doing.
    pub own_credential: bool,
    /// Whether we ask for a usage chunk that the client does not want to see.
    pub asks_usage: bool,
}

/// Builds the attempt at `provider`, for `model` where there is one.
///
/// # Errors
/// `internal` when the edits do not fit the body, which would be our own mistake.
pub fn attempt(
    asked: &Asked,
    provider: &Arc<Provider>,
    model: Option<&Model>,
    client_credential: bool,
) -> Result<Attempt, Fault> {
    let asks_usage = asks_usage(asked, provider);
    let edits = edits(asked, model, asks_usage);
    let (segments, length) = body(asked, edits)?;
    let credential = match (&provider.auth, &asked.principal.client_credential) {
        (Some(ours), _) => Some(ours.clone()),
        (None, Some(theirs)) if client_credential => {
            Some((HeaderName::from_static(theirs.header.name()), theirs.value.clone()))
        }
        (None, _) => None,
    };
    let own_credential = provider.has_credential() || credential.is_none();
    Ok(Attempt {
        provider: Arc::clone(provider),
        target: provider.target(&asked.target),
        segments,
        length,
        credential,
        own_credential,
        asks_usage,
    })
}

fn asks_usage(asked: &Asked, provider: &Provider) -> bool {
    matches!(asked.surface, Surface::Chat | Surface::Completions)
        && asked.wish.stream
        && !asked.wish.usage
        && provider.abilities.ask_usage
}

fn edits(asked: &Asked, model: Option<&Model>, asks_usage: bool) -> Vec<Edit> {
    let Some(envelope) = &asked.envelope else { return Vec::new() };
    let mut edits = Vec::with_capacity(2);
    if let Some(model) = model.filter(|model| !model.is_wildcard())
        && asked.model() != Some(&*model.upstream_id)
    {
        edits.push(splice::set_model(envelope, &model.model_json));
    }
    if asks_usage {
        edits.extend(splice::ask_for_usage(envelope, &asked.body));
    }
    edits
}

fn body(asked: &Asked, edits: Vec<Edit>) -> Result<(Vec<Bytes>, usize), Fault> {
    if asked.body.is_empty() {
        return Ok((Vec::new(), 0));
    }
    if edits.is_empty() {
        return Ok((vec![asked.body.clone()], asked.body.len()));
    }
    let spliced = splice::splice(&asked.body, edits)
        .map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
    Ok((spliced.pieces(JOIN_BYTES_MAX), spliced.len()))
}
