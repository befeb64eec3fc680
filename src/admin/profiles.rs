//! The calls of the control API about accounts at providers and their models (S3-05 to S3-09).
//!
//! They block: the store is asked, names are looked up, a provider may be called. A credential comes in and
//! never goes out: no answer and no refusal is made of it.

use std::net::{IpAddr, ToSocketAddrs as _};

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::admin::ask::{Fields, Params, bad};
use crate::admin::handlers::Refusal;
use crate::base::fault::Code;
use crate::base::limit;
use crate::config::bound;
use crate::config::overlay::model_id;
use crate::config::snapshot::Snapshot;
use crate::engine::accounts::{self, Accounts};
use crate::engine::caller::{self, Fenced};
use crate::store::registry::{Profile, ProfileModel, RegistryError};
use crate::upstream::kind::ProviderKind;
use crate::upstream::reach::{self, Fence};
use crate::upstream::target::BaseUrl;

/// The version of the Anthropic API that a list of models is asked for in.
const ANTHROPIC_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// `POST /admin/profiles` (S3-05).
///
/// # Errors
/// A bad field, by its name; a name that is taken; no key to seal credentials with.
pub fn add(accounts: &Accounts, body: &[u8], now_ms: i64) -> Result<Value, Refusal> {
    let fields = Fields::read(body)?;
    let name = profile_name(fields.needed("profile_name")?)?;
    let kind = provider_kind(fields.needed("provider_type")?)?;
    let credentials = fields.object("credentials")?;
    let key = credential(&credentials)?;
    let current = accounts.live().load_full();
    let base_url = base_url(&fields, kind, &current.snapshot.profiles.fence)?;
    if !is_free(&current.snapshot, name) {
        return Err(taken("profile_name: the configuration has a provider of that name"));
    }
    let id = accounts::fresh_id().map_err(|error| Refusal::new(Code::Internal, error))?;
    let sealed = accounts.seal(&id, key).map_err(no_key)?;
    let profile = Profile {
        id,
        name: name.to_owned(),
        kind,
        base_url,
        credential: sealed.credential,
        key_id: sealed.key_id,
        created_ms: now_ms,
    };
    accounts.registry.add_profile(&profile).map_err(refused)?;
    refresh(accounts)?;
    Ok(shown(&profile, 0))
}

fn profile_name(name: &str) -> Result<&str, Refusal> {
    let max = limit::PROFILE_NAME_BYTES_MAX;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() <= max && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(bad("profile_name", &format!("must have 1 to {max} letters, digits, `-`, `_` or `.`")))
}

fn provider_kind(name: &str) -> Result<ProviderKind, Refusal> {
    let all = ProviderKind::ALL.map(ProviderKind::name).join(", ");
    ProviderKind::from_name(name)
        .ok_or_else(|| bad("provider_type", &format!("must be one of {all}")))
}

fn credential(credentials: &Fields) -> Result<&str, Refusal> {
    let field = "credentials.api_key";
    let named = |refusal: Refusal| Refusal {
        message: format!("credentials.{}", refusal.message).into(),
        ..refusal
    };
    let key = credentials.text("api_key").map_err(named)?.unwrap_or_default();
    if key.trim().is_empty() {
        return Err(bad(field, "is missing or empty"));
    }
    if key.len() > limit::CREDENTIAL_BYTES_MAX {
        return Err(bad(field, "is too long"));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(field, "must be visible ASCII without blanks and line breaks"));
    }
    Ok(key)
}

/// The base URL: the one given, if accounts may lead there, or the provider's own.
fn base_url(fields: &Fields, kind: ProviderKind, fence: &Fence) -> Result<String, Refusal> {
    let given = fields.text("base_url")?.map(str::trim).filter(|text| !text.is_empty());
    let Some(text) = given else {
        let own = kind.base_url().map(str::to_owned);
        return own.ok_or_else(|| {
            bad("base_url", "is missing (this provider_type has no address of its own)")
        });
    };
    if text.len() > limit::PROFILE_URL_BYTES_MAX {
        return Err(bad("base_url", "is too long"));
    }
    let base = BaseUrl::parse(text, false).map_err(|error| bad("base_url", &error.to_string()))?;
    check_reach(&base, fence).map_err(|why| bad("base_url", why))?;
    Ok(text.to_owned())
}

/// Whether every address that the host leads to now is one where accounts may lead. Each connection is
/// judged again.
fn check_reach(base: &BaseUrl, fence: &Fence) -> Result<(), &'static str> {
    if reach::is_odd_number(&base.host) {
        return Err("has a number in place of a host (write an address with four parts)");
    }
    if fence.is_open_to(&base.host) {
        return Ok(());
    }
    let found = (&*base.host, base.port).to_socket_addrs();
    let found: Vec<IpAddr> = found.map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default();
    if found.is_empty() {
        return Err("names a host without an address");
    }
    if found.iter().all(|&address| fence.admits(&base.host, address)) {
        return Ok(());
    }
    Err("leads to an address that is not public (see profiles.allow_private)")
}

fn is_free(snapshot: &Snapshot, name: &str) -> bool {
    !snapshot.providers.iter().any(|known| *known.name == *name && known.fence.is_none())
}

/// `GET /admin/profiles` (S3-06).
///
/// # Errors
/// A store that cannot be read.
pub fn list(accounts: &Accounts) -> Result<Value, Refusal> {
    let models = accounts.registry.models().map_err(refused)?;
    let count = |id: &str| models.iter().filter(|model| model.profile_id == id).count();
    let profiles = accounts.registry.profiles().map_err(refused)?;
    let shown: Vec<Value> = profiles.iter().map(|one| shown(one, count(&one.id))).collect();
    Ok(json!({ "profiles": shown }))
}

fn shown(profile: &Profile, models: usize) -> Value {
    json!({
        "id": profile.id,
        "profile_name": profile.name,
        "provider_type": profile.kind.name(),
        "base_url": profile.base_url,
        "created_at_ms": profile.created_ms,
        "models": models,
    })
}

/// `DELETE /admin/profiles/{id}` (S3-06).
///
/// # Errors
/// `profile_not_found`; `profile_in_use` while an agent is switched to it.
pub fn remove(accounts: &Accounts, id: &str) -> Result<Value, Refusal> {
    accounts.registry.remove_profile(id).map_err(refused)?;
    refresh(accounts)?;
    Ok(json!({"status": "deleted", "id": id}))
}

/// `POST /admin/models` (S3-07).
///
/// # Errors
/// A bad field, by its name; an unknown profile.
pub fn put_model(accounts: &Accounts, body: &[u8]) -> Result<Value, Refusal> {
    let fields = Fields::read(body)?;
    let profile = profile_named(accounts, fields.needed("profile_name")?)?;
    let tags = fields.texts("tags")?;
    let sound = |tag: &String| !tag.is_empty() && tag.len() <= limit::MODEL_TAG_BYTES_MAX;
    if tags.len() > limit::MODEL_TAGS_MAX || !tags.iter().all(sound) {
        let (most, long) = (limit::MODEL_TAGS_MAX, limit::MODEL_TAG_BYTES_MAX);
        return Err(bad(
            "tags",
            &format!("must be at most {most} texts of 1 to {long} characters"),
        ));
    }
    let model = ProfileModel {
        profile_id: profile.id,
        name: model_name(fields.needed("model_name")?)?.to_owned(),
        enabled: fields.flag("enabled", true)?,
        tags,
        max_tokens: fields.count("max_tokens", bound::OUTPUT_TOKENS.max)?,
    };
    accounts.registry.put_models(std::slice::from_ref(&model)).map_err(refused)?;
    refresh(accounts)?;
    Ok(model_shown(&profile.name, &model))
}

/// The account of that name.
///
/// # Errors
/// There is none.
pub fn profile_named(accounts: &Accounts, name: &str) -> Result<Profile, Refusal> {
    let all = accounts.registry.profiles().map_err(refused)?;
    all.into_iter().find(|profile| profile.name == name).ok_or_else(|| unknown("profile_name"))
}

/// A provider's name for a model.
///
/// # Errors
/// It is too long, or holds characters that do not belong there.
pub fn model_name(name: &str) -> Result<&str, Refusal> {
    let max = limit::MODEL_NAME_BYTES_MAX - limit::PROFILE_NAME_BYTES_MAX - 2;
    if name.len() <= max && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(name);
    }
    Err(bad("model_name", &format!("must have 1 to {max} visible ASCII characters without blanks")))
}

fn model_shown(profile: &str, model: &ProfileModel) -> Value {
    json!({
        "id": model_id(profile, &model.name),
        "profile_name": profile,
        "model_name": model.name,
        "enabled": model.enabled,
        "tags": model.tags,
        "max_tokens": model.max_tokens,
    })
}

/// `GET /api/models?profile=` (S3-09): enabled and disabled ones, and those of the configuration.
///
/// # Errors
/// An unknown profile.
pub fn models(accounts: &Accounts, params: &Params) -> Result<Value, Refusal> {
    let wanted = params.text("profile");
    let fits = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let current = accounts.live().load_full();
    let profiles = accounts.registry.profiles().map_err(refused)?;
    let of_file = |name: &str| !is_free(&current.snapshot, name);
    if let Some(name) = wanted
        && !of_file(name)
        && !profiles.iter().any(|profile| profile.name == name)
    {
        return Err(unknown("profile"));
    }
    let mut shown: Vec<Value> = Vec::new();
    for model in current.snapshot.catalog.models() {
        let name = &*model.provider.name;
        if model.provider.fence.is_none() && fits(name) && !model.is_wildcard() {
            shown.push(json!({
                "id": &*model.id, "profile_name": name, "model_name": &*model.upstream_id,
                "enabled": model.enabled, "tags": [], "max_tokens": model.output_tokens_max,
            }));
        }
    }
    for model in accounts.registry.models().map_err(refused)? {
        let profile = profiles.iter().find(|profile| profile.id == model.profile_id);
        let profile = profile.filter(|profile| fits(&profile.name));
        shown.extend(profile.map(|profile| model_shown(&profile.name, &model)));
    }
    Ok(json!({ "models": shown }))
}

/// `POST /admin/profiles/{id}/sync-models` (S3-08). That the provider could not be asked is an answer, not
/// an error.
///
/// # Errors
/// An unknown profile, a store that cannot be written.
pub fn sync(accounts: &Accounts, id: &str) -> Result<Value, Refusal> {
    let profiles = accounts.registry.profiles().map_err(refused)?;
    let Some(profile) = profiles.iter().find(|profile| profile.id == id) else {
        return Err(refused(RegistryError::UnknownProfile));
    };
    let names = match offered(accounts, profile) {
        Ok(names) => names,
        Err(error) => return Ok(json!({"ok": false, "error": error})),
    };
    let known = accounts.registry.models().map_err(refused)?;
    let models = names.into_iter().map(|name| {
        let old = known.iter().find(|model| model.profile_id == id && model.name == name);
        ProfileModel {
            profile_id: id.to_owned(),
            name,
            enabled: true,
            tags: old.map(|old| old.tags.clone()).unwrap_or_default(),
            max_tokens: old.and_then(|old| old.max_tokens),
        }
    });
    let models: Vec<ProfileModel> = models.collect();
    match accounts.registry.put_models(&models) {
        Ok(()) => {}
        Err(error @ RegistryError::Full(_)) => {
            return Ok(json!({"ok": false, "error": error.to_string()}));
        }
        Err(error) => return Err(refused(error)),
    }
    refresh(accounts)?;
    let names: Vec<&str> = models.iter().map(|model| &*model.name).collect();
    Ok(json!({"ok": true, "count": names.len(), "models": names}))
}

/// The models that the provider lists, by its names.
fn offered(accounts: &Accounts, profile: &Profile) -> Result<Vec<String>, String> {
    let current = accounts.live().load_full();
    let in_force = current.snapshot.providers.iter();
    let provider =
        in_force.into_iter().find(|one| *one.name == *profile.name && one.fence.is_some());
    let provider = provider.ok_or("the account is not in use")?;
    let Some(auth) = provider.auth.clone() else {
        return Err("its credential cannot be opened".to_owned());
    };
    let mut headers = vec![auth];
    let path = if profile.kind == ProviderKind::Anthropic {
        headers.push(ANTHROPIC_VERSION);
        "/v1/models?limit=1000"
    } else {
        "/v1/models"
    };
    let fence = provider.fence.clone().unwrap_or_default();
    let call = Fenced { url: provider.base.url(path), headers: &headers, fence };
    let answer = caller::get_fenced(&call, limit::SYNC_ANSWER_BYTES_MAX)?;
    names_in(&answer).ok_or_else(|| "its answer is no list of models".to_owned())
}

/// `data[].id`, each once; ids that nobody could ask for are left out.
fn names_in(answer: &[u8]) -> Option<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let list = answer.get("data").unwrap_or(&answer).as_array()?;
    let ids = list.iter().filter_map(|entry| entry.get("id")?.as_str());
    let mut names: Vec<String> =
        ids.filter(|id| !id.is_empty() && model_name(id).is_ok()).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// Puts in force what was changed.
///
/// # Errors
/// The store cannot be read; what was changed is kept all the same.
pub fn refresh(accounts: &Accounts) -> Result<(), Refusal> {
    accounts.refresh().map(drop).map_err(refused)
}

fn no_key(why: String) -> Refusal {
    Refusal { status: 409, code: "profiles_disabled", message: why.into(), problems: Vec::new() }
}

fn taken(message: &'static str) -> Refusal {
    Refusal { status: 409, code: "profile_exists", message: message.into(), problems: Vec::new() }
}

fn unknown(field: &str) -> Refusal {
    let message = format!("{field}: there is no profile of that name");
    Refusal {
        status: 404,
        code: "profile_not_found",
        message: message.into(),
        problems: Vec::new(),
    }
}

/// What a registry's refusal means to whoever asked.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
pub fn refused(error: RegistryError) -> Refusal {
    let (status, code) = match &error {
        RegistryError::UnknownProfile => (404, "profile_not_found"),
        RegistryError::DuplicateName => {
            return taken("profile_name: there is a profile of that name already");
        }
        RegistryError::InUse(_) => (409, "profile_in_use"),
        RegistryError::Full(_) => (409, "registry_full"),
        RegistryError::Store(_) => {
            tracing::error!(%error, "the registry failed");
            return Refusal::new(Code::Overloaded, "the store cannot be used at present");
        }
        _ => (400, Code::InvalidRequest.name()),
    };
    Refusal { status, code, message: error.to_string().into(), problems: Vec::new() }
}
