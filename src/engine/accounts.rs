//! Joins what operators keep beside the file (accounts with their models, switches) with the file that was
//! read last, and puts both in force as one configuration, whichever of the two has changed.
//!
//! Credentials are opened here, and nowhere else; what holds them then is the configuration in force, marked
//! so that it is never printed. An account whose credential cannot be opened is kept, but not used.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::config::overlay::{self, Account, AccountModel, Overlay, Switch};
use crate::config::snapshot::Snapshot;
use crate::engine::live::Live;
use crate::identity::vault::{self, Keys};
use crate::store::registry::{
    Active, Profile, ProfileModel, Registry, RegistryError, Resealed, Sealed,
};
use crate::telemetry::labels::Names;
use crate::telemetry::metrics::Metrics;
use crate::upstream::target::BaseUrl;

/// What operators keep, and the configuration that it joins.
pub struct Accounts {
    /// Where it is kept.
    pub registry: Arc<dyn Registry>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    /// The configuration of the file alone. Held while another one is put in force.
    file: Mutex<Snapshot>,
    /// The registry's version that is in force.
    seen: AtomicI64,
}

/// The right to put a configuration in force; only one at a time has it.
pub struct Turn<'a> {
    own: &'a Accounts,
    file: MutexGuard<'a, Snapshot>,
}

/// A file joined with the rest, not yet in force.
pub struct Joined {
    /// What would be in force.
    pub snapshot: Snapshot,
    version: i64,
}

impl Accounts {
    /// Joins that configuration of a file with what is kept, and puts it in force as the first one.
    ///
    /// # Errors
    /// A registry that cannot be read.
    pub fn open(
        registry: Arc<dyn Registry>,
        file: Snapshot,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Arc<Live>), RegistryError> {
        let joined = join(&*registry, &file)?;
        metrics.set_names(Names::of(&joined.snapshot));
        let live = Arc::new(Live::new(joined.snapshot));
        let (in_force, file) = (Arc::clone(&live), Mutex::new(file));
        let seen = AtomicI64::new(joined.version);
        Ok((Self { registry, live, metrics, file, seen }, in_force))
    }

    /// The configuration in force.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Seals a credential for the record of that id.
    ///
    /// # Errors
    /// There is no key to seal with; for whoever asked.
    pub fn seal(&self, record: &str, credential: &str) -> Result<Resealed, String> {
        let current = self.live.load_full();
        let Some(keys) = &current.snapshot.profiles.keys else {
            let how = "set profiles.kms_key (WEIR_KMS_KEY) to 32 random bytes in base64";
            return Err(format!("there is no key to seal credentials with: {how}"));
        };
        let sealed = vault::seal(keys.current(), random()?, record, credential.as_bytes());
        let credential = Sealed(sealed.map_err(|_| "credentials.api_key: is too long".to_owned())?);
        Ok(Resealed { credential, key_id: keys.current().id() })
    }

    /// Waits for the right to put another configuration in force.
    pub fn turn(&self) -> Turn<'_> {
        Turn { own: self, file: self.file.lock() }
    }

    /// Puts in force what is kept by now.
    ///
    /// # Errors
    /// A registry that cannot be read; nothing is changed then.
    pub fn refresh(&self) -> Result<u64, RegistryError> {
        let turn = self.turn();
        let joined = join(&*self.registry, &turn.file)?;
        Ok(turn.put(joined, None))
    }

    /// Puts in force what another process has changed, if one has.
    ///
    /// # Errors
    /// A registry that cannot be read.
    pub fn follow(&self) -> Result<bool, RegistryError> {
        if self.registry.version()? == self.seen.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.refresh().map(|_| true)
    }
}

impl Turn<'_> {
    /// The configuration of a file with what is kept.
    ///
    /// # Errors
    /// A registry that cannot be read.
    pub fn join(&self, file: &Snapshot) -> Result<Joined, RegistryError> {
        join(&*self.own.registry, file)
    }

    /// Puts it in force and gives its version. `file` is the one it was made of, if that is another one
    /// than before.
    pub fn put(mut self, joined: Joined, file: Option<Snapshot>) -> u64 {
        let names = Names::of(&joined.snapshot);
        let version = self.own.live.replace(joined.snapshot);
        self.own.metrics.set_names(names);
        self.own.seen.store(joined.version, Ordering::Relaxed);
        if let Some(file) = file {
            *self.file = file;
        }
        version
    }
}

/// An id for a new record.
///
/// # Errors
/// No randomness from the system.
pub fn fresh_id() -> Result<String, String> {
    Ok(format!("{:032x}", u128::from_le_bytes(random()?)))
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes)
}

fn join(registry: &dyn Registry, file: &Snapshot) -> Result<Joined, RegistryError> {
    // First of all: what changes while the rest is read is then seen as a change.
    let version = registry.version()?;
    let mut profiles = registry.profiles()?;
    profiles.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
    let models = registry.models()?;
    let account = |profile: &Profile| account(profile, file.profiles.keys.as_deref(), &models);
    let overlay = Overlay {
        accounts: profiles.iter().filter_map(account).collect(),
        switches: registry.active()?.into_iter().map(switch).collect(),
        fence: Arc::clone(&file.profiles.fence),
    };
    Ok(Joined { snapshot: overlay::apply(file.clone(), &overlay), version })
}

fn account(profile: &Profile, keys: Option<&Keys>, all: &[ProfileModel]) -> Option<Account> {
    let broken = |what: &str| {
        tracing::error!(profile = profile.name, "the account cannot be used: {what}");
    };
    let Ok(base) = BaseUrl::parse(&profile.base_url, false) else {
        broken("its base URL cannot be read");
        return None;
    };
    let mut auth = None;
    let kind = profile.kind;
    let opened = keys.map(|keys| keys.open(&profile.key_id, &profile.id, &profile.credential.0));
    match opened {
        Some(Ok(plain)) => {
            auth = str::from_utf8(&plain).ok().and_then(|text| kind.credential(text));
        }
        Some(Err(why)) => broken(&why.to_string()),
        None => broken("there is no key to open its credential with"),
    }
    let own = all.iter().filter(|model| model.profile_id == profile.id);
    let model = |model: &ProfileModel| AccountModel {
        name: Arc::from(&*model.name),
        enabled: model.enabled,
        max_tokens: model.max_tokens,
    };
    let models = own.map(model).collect();
    Some(Account { name: Arc::from(&*profile.name), kind, base, auth, models })
}

fn switch(active: Active) -> Switch {
    Switch {
        agent: Arc::from(active.agent),
        profile: Arc::from(active.profile),
        model: Arc::from(active.model),
        since_ms: active.since_ms,
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! Accounts in a store of their own, for tests of this floor and the next.

    use super::*;
    use crate::identity::vault::Key;
    use crate::store::sqlite::registry::SqliteRegistry;
    use std::path::Path;

    pub(crate) fn keys() -> Arc<Keys> {
        Arc::new(Keys::new(Key::new([7; 32]), Vec::new()))
    }

    pub(crate) fn accounts(
        folder: &Path,
        mut file: Snapshot,
        metrics: Arc<Metrics>,
    ) -> (Arc<Accounts>, Arc<Live>) {
        let registry = Arc::new(SqliteRegistry::open(&folder.join("weir.db")).unwrap());
        file.profiles.keys = Some(keys());
        let (accounts, live) = Accounts::open(registry, file, metrics).unwrap();
        (Arc::new(accounts), live)
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{accounts, keys};
    use super::*;
    use crate::engine::source::sample::{Folder, snapshot};
    use crate::upstream::kind::ProviderKind;

    fn profile(name: &str) -> Profile {
        let id = format!("{name}00");
        let sealed = vault::seal(keys().current(), [1; 12], &id, b"key").unwrap();
        Profile {
            id,
            name: name.to_owned(),
            kind: ProviderKind::OpenAi,
            base_url: "https://api.openai.com/v1".to_owned(),
            credential: Sealed(sealed),
            key_id: keys().current().id(),
            created_ms: 5,
        }
    }

    #[test]
    fn what_is_kept_and_the_file_are_in_force_together_whichever_changes() {
        let folder = Folder::new("joined");
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let (accounts, live) = accounts(folder.path(), snapshot("one"), metrics);
        let ids = || {
            let current = live.load_full();
            let models = current.snapshot.catalog.models().iter();
            models.map(|model| model.id.to_string()).collect::<Vec<_>>()
        };
        accounts.registry.add_profile(&profile("ab")).unwrap();
        let model = ProfileModel {
            profile_id: "ab00".to_owned(),
            name: "gpt".to_owned(),
            enabled: true,
            tags: Vec::new(),
            max_tokens: Some(7),
        };
        accounts.registry.put_models(&[model]).unwrap();
        assert_eq!(ids(), ["one"]);
        assert!(accounts.follow().unwrap());
        assert!(!accounts.follow().unwrap());
        assert_eq!(ids(), ["one", "ab::gpt"]);
        assert_eq!(live.load().snapshot.version, 2);
        let turn = accounts.turn();
        let mut file = snapshot("two");
        file.profiles.keys = Some(keys());
        let joined = turn.join(&file).unwrap();
        assert_eq!(turn.put(joined, Some(file)), 3);
        assert_eq!(ids(), ["two", "ab::gpt"]);
        assert_eq!(accounts.refresh().unwrap(), 4);
        assert_eq!(ids(), ["two", "ab::gpt"]);
        let current = live.load_full();
        let provider = &current.snapshot.providers[1];
        assert_eq!(provider.auth.as_ref().unwrap().1.to_str().unwrap(), "Bearer key");
    }

    #[test]
    fn an_account_that_cannot_be_opened_is_not_used() {
        let folder = Folder::new("unopened");
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let (accounts, _) = accounts(folder.path(), snapshot("one"), metrics);
        let stranger = Profile { credential: Sealed(vec![1; 40]), ..profile("ab") };
        accounts.registry.add_profile(&stranger).unwrap();
        let used = |keys: Option<Arc<Keys>>| {
            let mut file = snapshot("one");
            file.profiles.keys = keys;
            let joined = join(&*accounts.registry, &file).unwrap().snapshot;
            joined.providers[1..].iter().map(|provider| provider.enabled).collect::<Vec<_>>()
        };
        assert_eq!(used(Some(keys())), [false]);
        accounts.registry.add_profile(&profile("cd")).unwrap();
        assert_eq!((used(Some(keys())), used(None)), (vec![false, true], vec![false, false]));
    }
}
