//! The calls of the control API about switches and the audit (S3-10, S3-11, S3-16), here and on the data
//! plane. They block: the store is asked.

use serde_json::{Value, json};

use crate::admin::ask::{Fields, Params, bad};
use crate::admin::handlers::Refusal;
use crate::admin::profiles::{self, refused};
use crate::base::fault::Code;
use crate::base::limit::{AUDIT_PAGE_MAX, ID_HEADER_BYTES_MAX};
use crate::config::overlay::model_id;
use crate::config::snapshot::Snapshot;
use crate::engine::accounts::Accounts;
use crate::identity::agent::Agent;
use crate::identity::key::to_hex;
use crate::identity::keyring::Grant;
use crate::store::registry::{Active, Page, ProfileModel, RequestRow, SwitchRow};
use crate::upstream::kind::ProviderKind;

/// Rows of an audit that a call gives unless it says how many.
const PAGE_ROWS: i64 = 100;

/// Who asks, and when.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What the key grants.
    pub grant: Option<Grant>,
    /// Which key it is, by the first digits of its hash.
    pub key_id: String,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// The agent that a call is about: one that the key may speak for and that is accepted.
fn agent_id(asker: &Asker, snapshot: &Snapshot, named: Option<&str>) -> Result<String, Refusal> {
    let bound = match asker.grant {
        Some(Grant::Agent(index)) => snapshot.gate.agents.at(index),
        _ => None,
    };
    if let Some(bound) = bound {
        return match named {
            Some(id) if id != &*bound.id => {
                let message = "agent_id: this key is bound to another agent";
                Err(Refusal::new(Code::AgentForbidden, message))
            }
            _ => Ok(bound.id.to_string()),
        };
    }
    let Some(id) = named else { return Err(bad("agent_id", "is missing or empty")) };
    if id.len() > ID_HEADER_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("must be visible ASCII of at most {ID_HEADER_BYTES_MAX} characters");
        return Err(bad("agent_id", &why));
    }
    if rules_of(snapshot, id).is_none() {
        let message = format!("agent_id: no agent `{id}` is configured, nor an agent `default`");
        return Err(Refusal::new(Code::UnknownAgent, message));
    }
    Ok(id.to_owned())
}

/// The agent whose rules hold for that id.
fn rules_of<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a Agent> {
    let agents = &snapshot.gate.agents;
    agents.get(id).or_else(|| agents.default_agent()).map(|agent| &**agent)
}

/// `POST /api/switch` (S3-10). In force when it answers.
///
/// # Errors
/// A bad field, by its name; an agent that is not the key's own; a model that may not be used.
pub fn switch(accounts: &Accounts, asker: &Asker, body: &[u8]) -> Result<Value, Refusal> {
    let fields = Fields::read(body)?;
    let named = fields.text("agent_id")?.map(str::trim).filter(|id| !id.is_empty());
    let current = accounts.live().load_full();
    let snapshot = &current.snapshot;
    let agent = agent_id(asker, snapshot, named)?;
    let profile = fields.needed("profile_name")?;
    let model = profiles::model_name(fields.needed("model_name")?)?;
    let target = Target { profile, model };
    let new_model = target.look(accounts, snapshot)?;
    target.check_allowed(snapshot, &agent)?;
    let from = snapshot
        .active
        .get(&*agent)
        .map(|active| model_id(&active.switch.profile, &active.switch.model));
    let active = Active {
        agent: agent.clone(),
        profile: profile.to_owned(),
        model: model.to_owned(),
        since_ms: asker.now_ms,
    };
    let row = SwitchRow {
        id: 0,
        at_ms: asker.now_ms,
        agent: agent.clone(),
        from: from.clone(),
        to: model_id(profile, model),
        by: asker.key_id.clone(),
    };
    accounts.registry.switch(&active, &row, new_model.as_ref()).map_err(refused)?;
    profiles::refresh(accounts)?;
    let mode = rules_of(snapshot, &agent).map(|rules| rules.mode.name());
    Ok(json!({
        "status": "switched", "agent_id": agent, "profile_name": profile, "model_name": model,
        "model": row.to, "previous": from, "created": new_model.is_some(), "mode": mode,
    }))
}

/// Where a switch leads.
struct Target<'a> {
    profile: &'a str,
    model: &'a str,
}

impl Target<'_> {
    /// Whether it may be switched to; the model to be made for it, if it is unknown and may be made.
    fn look(
        &self,
        accounts: &Accounts,
        snapshot: &Snapshot,
    ) -> Result<Option<ProfileModel>, Refusal> {
        let of_file = |name: &str| {
            snapshot.providers.iter().any(|one| *one.name == *name && one.fence.is_none())
        };
        if of_file(self.profile) {
            let place = snapshot.catalog.at_provider(self.profile, self.model);
            let model = place.and_then(|place| snapshot.catalog.get(place));
            return match model {
                Some(model) if model.enabled => Ok(None),
                Some(_) => Err(bad("model_name", "is disabled")),
                None => Err(bad("model_name", "is no model of this provider of the configuration")),
            };
        }
        let profile = profiles::profile_named(accounts, self.profile)?;
        let models = accounts.registry.models().map_err(refused)?;
        let known =
            |model: &&ProfileModel| model.profile_id == profile.id && model.name == self.model;
        match models.iter().find(known) {
            Some(model) if model.enabled => Ok(None),
            Some(_) => Err(bad("model_name", "is disabled")),
            None if profile.kind == ProviderKind::Anthropic => {
                let why =
                    "is unknown (models of anthropic profiles must exist: POST /admin/models)";
                Err(bad("model_name", why))
            }
            None => Ok(Some(ProfileModel {
                profile_id: profile.id,
                name: self.model.to_owned(),
                enabled: true,
                tags: Vec::new(),
                max_tokens: None,
            })),
        }
    }

    /// Whether the agent may use it.
    fn check_allowed(&self, snapshot: &Snapshot, agent: &str) -> Result<(), Refusal> {
        let Some(rules) = rules_of(snapshot, agent) else { return Ok(()) };
        let place = snapshot.catalog.at_provider(self.profile, self.model);
        if rules.models.is_none() || place.is_some_and(|place| rules.allows(place)) {
            return Ok(());
        }
        Err(Refusal::new(Code::AgentForbidden, "model_name: this agent may not use this model"))
    }
}

/// `GET /api/active?agent_id=` (S3-11).
///
/// # Errors
/// An agent that is not the key's own; one that is switched to nothing.
pub fn active(accounts: &Accounts, asker: &Asker, params: &Params) -> Result<Value, Refusal> {
    let current = accounts.live().load_full();
    let agent = agent_id(asker, &current.snapshot, params.text("agent_id"))?;
    let Some(active) = current.snapshot.active.get(&*agent) else {
        let message = format!("No active model set for agent_id {agent}");
        let code = "no_active_model";
        return Err(Refusal { status: 404, code, message: message.into(), problems: Vec::new() });
    };
    let model = active.model.and_then(|place| current.snapshot.catalog.get(place));
    let switch = &active.switch;
    Ok(json!({
        "agent_id": agent, "profile_name": &*switch.profile, "model_name": &*switch.model,
        "model": model_id(&switch.profile, &switch.model), "since_ms": switch.since_ms,
        "usable": model.is_some_and(|model| model.enabled),
    }))
}

/// `GET /api/audit/switches`.
///
/// # Errors
/// Bad parameters, a store that cannot be read.
pub fn switches(accounts: &Accounts, params: &Params) -> Result<Value, Refusal> {
    let rows = accounts.registry.switches(page(params)?).map_err(refused)?;
    let next = rows.last().map(|row| row.id);
    let rows: Vec<Value> = rows.iter().map(switch_row).collect();
    Ok(json!({"switches": rows, "next": next}))
}

fn switch_row(row: &SwitchRow) -> Value {
    json!({
        "id": row.id, "at_ms": row.at_ms, "agent_id": row.agent, "from": row.from, "to": row.to,
        "by": row.by,
    })
}

/// `GET /api/audit/requests`.
///
/// # Errors
/// Bad parameters, a store that cannot be read.
pub fn requests(accounts: &Accounts, params: &Params) -> Result<Value, Refusal> {
    let rows = accounts.registry.requests(page(params)?).map_err(refused)?;
    let next = rows.last().map(|row| row.id);
    let rows: Vec<Value> = rows.iter().map(request_row).collect();
    Ok(json!({"requests": rows, "next": next}))
}

fn request_row(row: &RequestRow) -> Value {
    json!({
        "id": row.id, "at_ms": row.at_ms, "request_id": row.request_id, "agent_id": row.agent,
        "provider": row.provider, "model": row.model, "surface": row.surface, "status": row.status,
        "prompt_sha256": row.prompt_sha256.map(|hash| to_hex(&hash)),
    })
}

/// What a page of an audit is asked for by.
fn page(params: &Params) -> Result<Page, Refusal> {
    let most = i64::try_from(AUDIT_PAGE_MAX).unwrap_or(i64::MAX);
    let limit = params.number("limit", (1, PAGE_ROWS, most))?;
    let after = params.number("after", (0, 0, i64::MAX))?;
    Ok(Page { after, limit: usize::try_from(limit).unwrap_or(AUDIT_PAGE_MAX) })
}
