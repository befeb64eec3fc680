//! What operators keep beside the ledger: named accounts at providers (profiles) with their models, which
//! model each agent is switched to, and the audit of switches and requests.
//!
//! Credentials come and go sealed; only `check_keys` and `rotate` open them, and keep nothing of what they
//! saw. No prompt is ever stored, only its hash.

use std::fmt;

use crate::identity::vault::{self, Key, Keys, NONCE_BYTES, OpenError};
use crate::store::StoreError;
use crate::upstream::kind::ProviderKind;

/// A credential that only the holder of the key can read: nonce, ciphertext and tag.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// A credential sealed by another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// It.
    pub credential: Sealed,
    /// Which key sealed it, see `Profile::key_id`.
    pub key_id: String,
}

/// A named account at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its record's id, bound into the sealed credential: lower-case hex, chosen before it is stored.
    pub id: String,
    /// What it is called; unique.
    pub name: String,
    /// Whose account it is.
    pub kind: ProviderKind,
    /// Where the provider is.
    pub base_url: String,
    /// Its credential.
    pub credential: Sealed,
    /// Which key sealed it: the first 8 bytes of that key's SHA-256 in hex.
    pub key_id: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A model of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileModel {
    /// The profile's record.
    pub profile_id: String,
    /// What the provider calls it.
    pub name: String,
    /// Whether it may be used.
    pub enabled: bool,
    /// The operator's own marks.
    pub tags: Vec<String>,
    /// Most tokens of an answer; `None` = not said.
    pub max_tokens: Option<u64>,
}

/// The model that an agent is switched to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// The agent.
    pub agent: String,
    /// The profile, or the provider of the configuration, by name.
    pub profile: String,
    /// The model by its provider's name.
    pub model: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// One switch, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchRow {
    /// Its place in the audit, rising; 0 before it is stored.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The agent.
    pub agent: String,
    /// What was active before, as `PROFILE::model`.
    pub from: Option<String>,
    /// What is active now, as `PROFILE::model`.
    pub to: String,
    /// Whose key asked: the key's id (12 hex digits of its hash).
    pub by: String,
}

/// One proxied request, as the audit keeps it (S3-16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Its place in the audit, rising; 0 before it is stored.
    pub id: i64,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The gateway's id of it.
    pub request_id: String,
    /// The agent.
    pub agent: String,
    /// Who answered: the provider or profile; empty if nobody did.
    pub provider: String,
    /// The model that answered; empty if none did.
    pub model: String,
    /// The path family.
    pub surface: String,
    /// The HTTP status that the client got.
    pub status: u16,
    /// SHA-256 of the system prompt and the messages as they came; `None` where there were none.
    pub prompt_sha256: Option<[u8; 32]>,
}

/// A piece of an audit: rows with ids above `after`, oldest first, at most `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last id that is known already; 0 = from the beginning.
    pub after: i64,
    /// Most rows.
    pub limit: usize,
}

/// Why a change of the registry was not made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such profile.
    #[error("there is no such profile")]
    UnknownProfile,
    /// The name is taken.
    #[error("there is a profile of that name already")]
    DuplicateName,
    /// Agents are switched to it.
    #[error("agents are switched to it: {}", .0.join(", "))]
    InUse(Vec<String>),
    /// It has as many of them as it may.
    #[error("there are as many {0} as there may be")]
    Full(&'static str),
    /// It is longer than it may be.
    #[error("the {0} is longer than it may be")]
    TooLong(&'static str),
    /// A credential could not be sealed by another key, so that none was.
    #[error("{0}")]
    Reseal(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The registry. All calls block; they may come from several threads.
pub trait Registry: Send + Sync {
    /// All profiles by name.
    fn profiles(&self) -> Result<Vec<Profile>, RegistryError>;

    /// Keeps a new profile, durably.
    fn add_profile(&self, profile: &Profile) -> Result<(), RegistryError>;

    /// Removes a profile with its models; not while an agent is switched to it.
    fn remove_profile(&self, id: &str) -> Result<(), RegistryError>;

    /// All models of all profiles, by profile and name.
    fn models(&self) -> Result<Vec<ProfileModel>, RegistryError>;

    /// Adds models, or changes those that are there, in one transaction.
    fn put_models(&self, models: &[ProfileModel]) -> Result<(), RegistryError>;

    /// What every agent is switched to.
    fn active(&self) -> Result<Vec<Active>, RegistryError>;

    /// Switches an agent and keeps the switch in the audit, in one transaction; adds `new_model` in the
    /// same one where it is given.
    fn switch(
        &self,
        active: &Active,
        audit: &SwitchRow,
        new_model: Option<&ProfileModel>,
    ) -> Result<(), RegistryError>;

    /// Keeps requests in the audit, in one transaction. Not durable against a loss of power.
    fn audit(&self, rows: &[RequestRow]) -> Result<(), RegistryError>;

    /// A piece of the audit of requests.
    fn requests(&self, page: Page) -> Result<Vec<RequestRow>, RegistryError>;

    /// A piece of the audit of switches.
    fn switches(&self, page: Page) -> Result<Vec<SwitchRow>, RegistryError>;

    /// Forgets audit rows from before that time, at most so many at a time; says how many went.
    fn forget_before(&self, unix_ms: i64, max: usize) -> Result<usize, RegistryError>;

    /// Replaces every credential by what `reseal` makes of it, in one transaction; all or none. Gives
    /// how many there were.
    fn reseal(
        &self,
        reseal: &mut dyn FnMut(&Profile) -> Result<Resealed, String>,
    ) -> Result<usize, RegistryError>;

    /// A number that changes when profiles, models or switches change, whoever changes them.
    fn version(&self) -> Result<i64, RegistryError>;
}

/// Why the profiles that are there cannot be used with the keys that are configured.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There are profiles, and no key.
    #[error(
        "there are {0} profiles, but no key that opens their credentials (set profiles.kms_key, \
         profiles.kms_key_file or WEIR_KMS_KEY to the key that they were made with)"
    )]
    NoKey(usize),
    /// A credential does not open.
    #[error(
        "the credential of profile {profile} does not open: {why}; it was sealed with the key {key_id}, \
         and those configured are {known} (name the former key in profiles.kms_key or profiles.kms_keys_old)"
    )]
    Shut {
        /// The profile's name.
        profile: String,
        /// The id of the key that sealed it.
        key_id: String,
        /// The ids of the keys that are configured.
        known: String,
        /// Why it does not open.
        why: OpenError,
    },
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Whether every credential opens with one of those keys: asked at the start and before new keys are put in
/// force, so that a wrong key is noticed by the operator and not by an agent.
///
/// # Errors
/// The first profile whose credential does not open.
pub fn check_keys(registry: &dyn Registry, keys: Option<&Keys>) -> Result<(), KeyError> {
    let profiles = registry.profiles()?;
    let Some(keys) = keys else {
        return if profiles.is_empty() { Ok(()) } else { Err(KeyError::NoKey(profiles.len())) };
    };
    profiles.iter().try_for_each(|profile| {
        let opened = keys.open(&profile.key_id, &profile.id, &profile.credential.0);
        opened.map(drop).map_err(|why| shut(profile, keys, why))
    })
}

fn shut(profile: &Profile, keys: &Keys, why: OpenError) -> KeyError {
    KeyError::Shut {
        profile: profile.name.clone(),
        key_id: profile.key_id.clone(),
        known: keys.ids().join(", "),
        why,
    }
}

/// Seals every credential with `new`, each with a nonce of its own, in one transaction; gives how many there
/// were. What `new` has sealed already is sealed again, so that a second call does no harm.
///
/// # Errors
/// A credential that neither `new` nor one of `keys` opens, no randomness, or the store failed; nothing is
/// changed then.
pub fn rotate(
    registry: &dyn Registry,
    keys: Option<&Keys>,
    new: &Key,
    nonce: &mut dyn FnMut() -> Result<[u8; NONCE_BYTES], String>,
) -> Result<usize, RegistryError> {
    let new_id = new.id();
    registry.reseal(&mut |profile| {
        let sealed = &profile.credential.0;
        let opened = match keys {
            _ if profile.key_id == new_id => vault::open(new, &profile.id, sealed),
            Some(keys) => keys.open(&profile.key_id, &profile.id, sealed),
            None => Err(OpenError::UnknownKey),
        };
        let plain = opened.map_err(|why| {
            format!("profile {}, sealed with the key {}: {why}", profile.name, profile.key_id)
        })?;
        let again = vault::seal(new, nonce()?, &profile.id, &plain);
        let credential = Sealed(again.map_err(|error| error.to_string())?);
        Ok(Resealed { credential, key_id: new_id.clone() })
    })
}
