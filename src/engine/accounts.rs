//! Joins what operators keep beside the file (accounts with their models, switches) with the file that was
//! read last, and puts both in force as one configuration, whichever of the two has changed.
//!
//! Credentials are opened here, and nowhere else; what holds them then is the configuration in force, marked
//! so that it is never printed. An account whose credential cannot be opened is kept, but not used.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::config::overlay::{self, Account, AccountModel, Kind, Overlay, Switch};
use crate::config::snapshot::Snapshot;
use crate::engine::live::Live;
use crate::store::registry::{
    Active, Profile, ProfileModel, ProviderKind, Registry, RegistryError, Resealed,
};
use crate::telemetry::labels::Names;
use crate::telemetry::metrics::Metrics;
use crate::upstream::target::BaseUrl;

/// Seals and opens credentials; each is bound to the id of its record.
pub trait Safe: Send + Sync {
    /// Seals a credential.
    ///
    /// # Errors
    /// Why it could not be done, without the credential.
    fn seal(&self, record: &str, credential: &str) -> Result<Resealed, String>;

    /// Gives the credential of an account to `user`, and forgets it again.
    ///
    /// # Errors
    /// Why it could not be opened.
    fn open(&self, profile: &Profile, user: &mut dyn FnMut(&str)) -> Result<(), String>;
}

/// What operators keep, and the configuration that it joins.
pub struct Accounts {
    /// Where it is kept.
    pub registry: Arc<dyn Registry>,
    /// What opens credentials; `None` where no key is configured, so that there can be no accounts.
    pub safe: Option<Arc<dyn Safe>>,
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
        (registry, safe): (Arc<dyn Registry>, Option<Arc<dyn Safe>>),
        file: Snapshot,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Arc<Live>), RegistryError> {
        let joined = join(&*registry, safe.as_deref(), &file)?;
        metrics.set_names(Names::of(&joined.snapshot));
        let live = Arc::new(Live::new(joined.snapshot));
        let (in_force, file) = (Arc::clone(&live), Mutex::new(file));
        let seen = AtomicI64::new(joined.version);
        Ok((Self { registry, safe, live, metrics, file, seen }, in_force))
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
        let joined = join(&*self.registry, self.safe.as_deref(), &turn.file)?;
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
        join(&*self.own.registry, self.own.safe.as_deref(), file)
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

fn join(
    registry: &dyn Registry,
    safe: Option<&dyn Safe>,
    file: &Snapshot,
) -> Result<Joined, RegistryError> {
    // First of all: what changes while the rest is read is then seen as a change.
    let version = registry.version()?;
    let mut profiles = registry.profiles()?;
    profiles.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
    let models = registry.models()?;
    let account = |profile: &Profile| account(profile, safe, &models);
    let overlay = Overlay {
        accounts: profiles.iter().filter_map(account).collect(),
        switches: registry.active()?.into_iter().map(switch).collect(),
        fence: Arc::clone(&file.fence),
    };
    Ok(Joined { snapshot: overlay::apply(file.clone(), &overlay), version })
}

/// The kind of provider as the configuration knows it.
pub const fn kind(kind: ProviderKind) -> Kind {
    match kind {
        ProviderKind::OpenAi => Kind::OpenAi,
        ProviderKind::Anthropic => Kind::Anthropic,
        ProviderKind::OpenAiCompatible => Kind::OpenAiCompatible,
    }
}

fn account(profile: &Profile, safe: Option<&dyn Safe>, all: &[ProfileModel]) -> Option<Account> {
    let broken = |what: &str| {
        tracing::error!(profile = profile.name, "the account cannot be used: {what}");
    };
    let Ok(base) = BaseUrl::parse(&profile.base_url, false) else {
        broken("its base URL cannot be read");
        return None;
    };
    let mut auth = None;
    let kind = kind(profile.kind);
    match safe.map(|safe| safe.open(profile, &mut |text| auth = kind.credential(text))) {
        Some(Ok(())) => {}
        Some(Err(why)) => broken(&why),
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
    //! Accounts without a store, for tests of this floor and the next.

    use super::*;
    use crate::store::registry::{Page, RequestRow, Sealed, SwitchRow};

    /// A registry that lasts as long as it lives.
    #[derive(Default)]
    pub(crate) struct InMemory(Mutex<Kept>);

    #[derive(Default)]
    struct Kept {
        profiles: Vec<Profile>,
        models: Vec<ProfileModel>,
        active: Vec<Active>,
        switches: Vec<SwitchRow>,
        requests: Vec<RequestRow>,
        version: i64,
    }

    impl Kept {
        fn put(&mut self, model: &ProfileModel) {
            let same =
                |known: &ProfileModel| (&known.profile_id, &known.name) == (&model.profile_id, &model.name);
            self.models.retain(|known| !same(known));
            self.models.push(model.clone());
        }
    }

    impl Registry for InMemory {
        fn profiles(&self) -> Result<Vec<Profile>, RegistryError> {
            let mut all = self.0.lock().profiles.clone();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(all)
        }

        fn add_profile(&self, profile: &Profile) -> Result<(), RegistryError> {
            let mut kept = self.0.lock();
            if kept.profiles.iter().any(|known| known.name == profile.name) {
                return Err(RegistryError::DuplicateName);
            }
            kept.profiles.push(profile.clone());
            kept.version += 1;
            Ok(())
        }

        fn remove_profile(&self, id: &str) -> Result<(), RegistryError> {
            let mut kept = self.0.lock();
            let Some(at) = kept.profiles.iter().position(|known| known.id == id) else {
                return Err(RegistryError::UnknownProfile);
            };
            let name = kept.profiles[at].name.clone();
            let users = kept.active.iter().filter(|active| active.profile == name);
            let users: Vec<String> = users.map(|active| active.agent.clone()).collect();
            if !users.is_empty() {
                return Err(RegistryError::InUse(users));
            }
            kept.profiles.remove(at);
            kept.models.retain(|model| model.profile_id != id);
            kept.version += 1;
            Ok(())
        }

        fn models(&self) -> Result<Vec<ProfileModel>, RegistryError> {
            Ok(self.0.lock().models.clone())
        }

        fn put_models(&self, models: &[ProfileModel]) -> Result<(), RegistryError> {
            let mut kept = self.0.lock();
            models.iter().for_each(|model| kept.put(model));
            kept.version += 1;
            Ok(())
        }

        fn active(&self) -> Result<Vec<Active>, RegistryError> {
            Ok(self.0.lock().active.clone())
        }

        fn switch(
            &self,
            active: &Active,
            audit: &SwitchRow,
            new_model: Option<&ProfileModel>,
        ) -> Result<(), RegistryError> {
            let mut kept = self.0.lock();
            kept.active.retain(|known| known.agent != active.agent);
            kept.active.push(active.clone());
            let id = i64::try_from(kept.switches.len()).unwrap() + 1;
            kept.switches.push(SwitchRow { id, ..audit.clone() });
            new_model.into_iter().for_each(|model| kept.put(model));
            kept.version += 1;
            Ok(())
        }

        fn audit(&self, rows: &[RequestRow]) -> Result<(), RegistryError> {
            self.0.lock().requests.extend_from_slice(rows);
            Ok(())
        }

        fn requests(&self, page: Page) -> Result<Vec<RequestRow>, RegistryError> {
            let kept = self.0.lock();
            let rows = kept.requests.iter().filter(|row| row.id > page.after);
            Ok(rows.take(page.limit).cloned().collect())
        }

        fn switches(&self, page: Page) -> Result<Vec<SwitchRow>, RegistryError> {
            let kept = self.0.lock();
            let rows = kept.switches.iter().filter(|row| row.id > page.after);
            Ok(rows.take(page.limit).cloned().collect())
        }

        fn forget_before(&self, _: i64, _: usize) -> Result<usize, RegistryError> {
            Ok(0)
        }

        fn reseal(
            &self,
            _: &mut dyn FnMut(&Profile) -> Result<Resealed, String>,
        ) -> Result<usize, RegistryError> {
            Ok(0)
        }

        fn version(&self) -> Result<i64, RegistryError> {
            Ok(self.0.lock().version)
        }
    }

    /// A safe that only turns bytes around.
    pub(crate) struct Reversing;

    impl Safe for Reversing {
        fn seal(&self, _: &str, credential: &str) -> Result<Resealed, String> {
            let credential = Sealed(credential.bytes().rev().collect());
            Ok(Resealed { credential, key_id: "0011223344556677".to_owned() })
        }

        fn open(&self, profile: &Profile, user: &mut dyn FnMut(&str)) -> Result<(), String> {
            let bytes = profile.credential.0.iter().rev().copied().collect();
            user(&String::from_utf8(bytes).map_err(|_| "no text".to_owned())?);
            Ok(())
        }
    }

    pub(crate) fn accounts(file: Snapshot, metrics: Arc<Metrics>) -> (Arc<Accounts>, Arc<Live>) {
        let kept = (Arc::new(InMemory::default()) as _, Some(Arc::new(Reversing) as _));
        let (accounts, live) = Accounts::open(kept, file, metrics).unwrap();
        (Arc::new(accounts), live)
    }
}

#[cfg(test)]
mod tests {
    use super::sample::accounts;
    use super::*;
    use crate::engine::source::sample::snapshot;
    use crate::store::registry::Sealed;

    fn profile(name: &str) -> Profile {
        Profile {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            kind: ProviderKind::OpenAi,
            base_url: "https://api.openai.com/v1".to_owned(),
            credential: Sealed(b"yek".to_vec()),
            key_id: "0011223344556677".to_owned(),
            created_ms: 5,
        }
    }

    #[test]
    fn what_is_kept_and_the_file_are_in_force_together_whichever_changes() {
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let (accounts, live) = accounts(snapshot("one"), metrics);
        let ids = || {
            let current = live.load_full();
            let models = current.snapshot.catalog.models().iter();
            models.map(|model| model.id.to_string()).collect::<Vec<_>>()
        };
        accounts.registry.add_profile(&profile("prod")).unwrap();
        let model = ProfileModel {
            profile_id: "id-of-prod".to_owned(),
            name: "gpt".to_owned(),
            enabled: true,
            tags: Vec::new(),
            max_tokens: Some(7),
        };
        accounts.registry.put_models(&[model]).unwrap();
        assert_eq!(ids(), ["one"]);
        assert!(accounts.follow().unwrap());
        assert!(!accounts.follow().unwrap());
        assert_eq!(ids(), ["one", "prod::gpt"]);
        assert_eq!(live.load().snapshot.version, 2);
        let turn = accounts.turn();
        let file = snapshot("two");
        let joined = turn.join(&file).unwrap();
        assert_eq!(turn.put(joined, Some(file)), 3);
        assert_eq!(ids(), ["two", "prod::gpt"]);
        assert_eq!(accounts.refresh().unwrap(), 4);
        assert_eq!(ids(), ["two", "prod::gpt"]);
        let current = live.load_full();
        let provider = &current.snapshot.providers[1];
        assert_eq!(provider.auth.as_ref().unwrap().1.to_str().unwrap(), "Bearer key");
    }

    #[test]
    fn an_account_that_cannot_be_opened_is_not_used() {
        let file = snapshot("one");
        let (registry, safe) = (sample::InMemory::default(), sample::Reversing);
        registry.add_profile(&Profile { credential: Sealed(vec![0xff]), ..profile("a") }).unwrap();
        let joined = join(&registry, Some(&safe), &file).unwrap().snapshot;
        assert!(!joined.providers[1].enabled);
        registry.add_profile(&profile("b")).unwrap();
        let joined = join(&registry, None, &file).unwrap().snapshot;
        assert!(joined.providers[1..].iter().all(|provider| !provider.enabled));
    }
}
