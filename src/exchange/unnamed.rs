//! Requests to other paths that name no model: which provider they go to, and who may send them.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::exchange::asked::{Asked, Form};
use crate::exchange::route::{Candidate, Plan, Scene};
use crate::upstream::provider::Provider;

/// Whether what the body says of its model can be read, for an agent that may use certain models only.
///
/// # Errors
/// `agent_forbidden` if it cannot: it may name any model.
pub fn readable(asked: &Asked) -> Result<(), Fault> {
    if asked.form != Form::Unread || asked.principal.agent.models.is_none() {
        return Ok(());
    }
    let message = "this agent may use certain models only, and no model can be read in this body: send JSON, or a \
                   form with one field `model`";
    Err(Fault::new(Code::AgentForbidden, message).param("model"))
}

/// A request without a model goes to the first provider of its dialect.
///
/// # Errors
/// `invalid_request` if there is none.
pub fn any_provider(scene: &Scene<'_>, asked: &Asked) -> Result<Plan, Fault> {
    let dialect = asked.surface.dialect();
    let Some(provider) = scene.current.snapshot.first_provider(dialect) else {
        let message =
            format!("no provider with other paths of the {} dialect is configured", dialect.name());
        return Err(Fault::new(Code::InvalidRequest, message));
    };
    at_provider(provider, asked)
}

/// A request without a model goes to that provider as it is.
///
/// # Errors
/// `invalid_request` if it does not have this path.
pub fn at_provider(provider: &Arc<Provider>, asked: &Asked) -> Result<Plan, Fault> {
    if provider.surface_for(asked.surface).is_none() {
        let message = format!("provider `{}` does not have this path", provider.name);
        return Err(Fault::new(Code::InvalidRequest, message));
    }
    let credential_for = asked
        .principal
        .client_credential
        .as_ref()
        .map(|_| provider.index)
        .filter(|_| !provider.has_credential());
    let candidate = Candidate::Provider(Arc::clone(provider));
    Ok(Plan {
        candidates: vec![candidate.clone()],
        first_choice: candidate,
        decision: "provider",
        credential_for,
        tier: None,
        choice: None,
        explain: None,
        think: false,
    })
}
