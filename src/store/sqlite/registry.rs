//! The registry in the file of the ledger, over a connection of its own.
//!
//! The ledger's writer must never wait long for it: each change is one small transaction that takes the
//! lock at its beginning, and what it waits for the lock is bounded. Its tables are told in
//! `schema/registry.sql`; nothing here reads or writes those of the ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::base::limit;
use crate::config::snapshot::Synchronous;
use crate::store::StoreError;
use crate::store::lock::{self, Lock};
use crate::store::registry::{
    Active, Page, Profile, ProfileModel, Registry, RegistryError, RequestRow, Resealed, SwitchRow,
};
use crate::store::sqlite::opening::{self, said};
use crate::store::sqlite::registry_rows as rows;

/// The schema of its tables that this program writes.
const SCHEMA: i64 = 2;
const SQL: &str = include_str!("../schema/registry.sql");
/// What leads from the first schema to the second.
const SQL_2: &str = include_str!("../schema/registry_2.sql");

/// A registry in a `SQLite` file that is also a ledger.
#[derive(Debug)]
pub struct SqliteRegistry {
    conn: Mutex<Connection>,
    file: PathBuf,
}

/// What a transaction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Profiles, models or switches: durable, and seen by `version`.
    Registry,
    /// Only the audit. The last rows may go with the power.
    Audit,
}

/// Why a transaction was given up.
pub(super) enum Stop {
    Engine(rusqlite::Error),
    Refused(RegistryError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<RegistryError> for Stop {
    fn from(error: RegistryError) -> Self {
        Self::Refused(error)
    }
}

impl SqliteRegistry {
    /// Opens the registry in `file`, and makes it if there is none; also the file, if that is missing.
    ///
    /// # Errors
    /// The file is no ledger, was written by a newer version, or cannot be written.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        opening::check_folder(file)?;
        if !file.exists() {
            make(file)?;
        }
        let mut conn = opening::writer(file, Synchronous::Full, false)?;
        let said = said(file);
        let busy = Duration::from_millis(limit::REGISTRY_BUSY_MS_MAX);
        conn.busy_timeout(busy).map_err(&said)?;
        // What was deleted or sealed anew shall not stay in the file.
        conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(())).map_err(&said)?;
        let found = settle_in(&mut conn).map_err(&said)?;
        if found > SCHEMA {
            let path = file.display().to_string();
            return Err(StoreError::Newer { path, found, known: SCHEMA });
        }
        if found != SCHEMA {
            return Err(opening::corrupt(file, "its registry has no schema that was ever written"));
        }
        Ok(Self { conn: Mutex::new(conn), file: file.to_owned() })
    }

    /// Lets the file grow to so many pages only, and says how many it has: a disk that is full.
    ///
    /// # Panics
    /// The engine does not do it.
    #[cfg(test)]
    pub fn limit_pages(&self, pages: u32) -> u32 {
        let conn = self.conn.lock();
        let limit = format!("PRAGMA max_page_count = {pages}");
        conn.query_row(&limit, [], |row| row.get::<_, u32>(0)).expect("a pragma");
        conn.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a pragma")
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        let conn = self.conn.lock();
        read(&conn).map_err(|error| RegistryError::Store(said(&self.file)(error)))
    }

    pub(super) fn write<T>(
        &self,
        what: Change,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Stop>,
    ) -> Result<T, RegistryError> {
        let mut conn = self.conn.lock();
        transact(&mut conn, what, change).map_err(|stop| match stop {
            Stop::Engine(error) => RegistryError::Store(said(&self.file)(error)),
            Stop::Refused(error) => error,
        })
    }
}

/// Makes an empty ledger, unless another process is just at work there.
fn make(file: &Path) -> Result<(), StoreError> {
    let Some(_lock) = Lock::try_take(file)? else {
        let path = file.display().to_string();
        return Err(StoreError::Taken { path, detail: lock::owner(file) });
    };
    opening::writer(file, Synchronous::Full, true).map(drop)
}

/// Makes the tables if there are none, and says which schema they have.
fn settle_in(conn: &mut Connection) -> rusqlite::Result<i64> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let there: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'registry_meta')",
        [],
        |row| row.get(0),
    )?;
    if !there {
        tx.execute_batch(SQL)?;
        tx.execute("INSERT INTO registry_meta (one, schema, version) VALUES (1, 1, 0)", [])?;
    }
    let read = "SELECT schema FROM registry_meta";
    let mut schema = tx.query_row(read, [], |row| row.get(0))?;
    if schema == 1 {
        tx.execute_batch(SQL_2)?;
        schema = tx.query_row(read, [], |row| row.get(0))?;
    }
    tx.commit()?;
    Ok(schema)
}

fn transact<T>(
    conn: &mut Connection,
    what: Change,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let synchronous = match what {
        Change::Registry => "full",
        Change::Audit => "normal",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = change(&tx)?;
    if what == Change::Registry {
        tx.execute("UPDATE registry_meta SET version = version + 1", [])?;
    }
    tx.commit()?;
    Ok(done)
}

impl Registry for SqliteRegistry {
    fn profiles(&self) -> Result<Vec<Profile>, RegistryError> {
        self.read(rows::profiles)
    }

    fn add_profile(&self, profile: &Profile) -> Result<(), RegistryError> {
        check_profile(profile)?;
        self.write(Change::Registry, |tx| {
            if is_there(tx, "SELECT 1 FROM profiles WHERE name = ?", &profile.name)? {
                return Err(RegistryError::DuplicateName.into());
            }
            rows::add_profile(tx, profile)?;
            within(tx, "SELECT count(*) FROM profiles", limit::PROFILES_MAX, "profiles")
        })
    }

    fn remove_profile(&self, id: &str) -> Result<(), RegistryError> {
        self.write(Change::Registry, |tx| {
            let name: Option<String> = tx
                .query_row("SELECT name FROM profiles WHERE id = ?", [id], |row| row.get(0))
                .optional()?;
            let name = name.ok_or(RegistryError::UnknownProfile)?;
            let users = rows::users(tx, &name)?;
            if !users.is_empty() {
                return Err(RegistryError::InUse(users).into());
            }
            tx.execute("DELETE FROM models WHERE profile_id = ?", [id])?;
            tx.execute("DELETE FROM profiles WHERE id = ?", [id])?;
            Ok(())
        })
    }

    fn models(&self) -> Result<Vec<ProfileModel>, RegistryError> {
        self.read(rows::models)
    }

    fn put_models(&self, models: &[ProfileModel]) -> Result<(), RegistryError> {
        models.iter().try_for_each(check_model)?;
        self.write(Change::Registry, |tx| {
            models.iter().try_for_each(|model| put_model(tx, model))?;
            room_for_models(tx, models)
        })
    }

    fn active(&self) -> Result<Vec<Active>, RegistryError> {
        self.read(rows::active)
    }

    fn switch(
        &self,
        active: &Active,
        audit: &SwitchRow,
        new_model: Option<&ProfileModel>,
    ) -> Result<(), RegistryError> {
        check_length("agent", &active.agent, limit::ID_HEADER_BYTES_MAX)?;
        check_length("model", &active.model, limit::MODEL_NAME_BYTES_MAX)?;
        new_model.map_or(Ok(()), check_model)?;
        self.write(Change::Registry, |tx| {
            if let Some(model) = new_model {
                put_model(tx, model)?;
                room_for_models(tx, std::slice::from_ref(model))?;
            }
            rows::set_active(tx, active)?;
            let count = "SELECT count(*) FROM agent_state";
            within(tx, count, limit::SWITCHED_AGENTS_MAX, "switched agents")?;
            Ok(rows::add_switch(tx, audit)?)
        })
    }

    fn audit(&self, requests: &[RequestRow]) -> Result<(), RegistryError> {
        if requests.is_empty() {
            return Ok(());
        }
        self.write(Change::Audit, |tx| Ok(rows::add_requests(tx, requests)?))
    }

    fn requests(&self, page: Page) -> Result<Vec<RequestRow>, RegistryError> {
        self.read(|conn| rows::requests(conn, bounded(page)))
    }

    fn switches(&self, page: Page) -> Result<Vec<SwitchRow>, RegistryError> {
        self.read(|conn| rows::switches(conn, bounded(page)))
    }

    fn forget_before(&self, unix_ms: i64, max: usize) -> Result<usize, RegistryError> {
        if !self.read(|conn| rows::has_before(conn, unix_ms))? {
            return Ok(0);
        }
        self.write(Change::Audit, |tx| {
            let requests = rows::forget(tx, "audit_requests", unix_ms, max)?;
            let switches = rows::forget(tx, "audit_switches", unix_ms, max - requests.min(max))?;
            Ok(requests + switches)
        })
    }

    fn reseal(
        &self,
        reseal: &mut dyn FnMut(&Profile) -> Result<Resealed, String>,
    ) -> Result<usize, RegistryError> {
        self.write(Change::Registry, |tx| {
            let profiles = rows::profiles(tx)?;
            for profile in &profiles {
                let credential = reseal(profile).map_err(RegistryError::Reseal)?;
                rows::set_credential(tx, &profile.id, &credential)?;
            }
            Ok(profiles.len())
        })
    }

    fn version(&self) -> Result<i64, RegistryError> {
        let sql = "SELECT version FROM registry_meta";
        self.read(|conn| conn.prepare_cached(sql)?.query_row([], |row| row.get(0)))
    }
}

fn put_model(tx: &Transaction<'_>, model: &ProfileModel) -> Result<(), Stop> {
    if !is_there(tx, "SELECT 1 FROM profiles WHERE id = ?", &model.profile_id)? {
        return Err(RegistryError::UnknownProfile.into());
    }
    Ok(rows::put_model(tx, model)?)
}

/// Whether there were not too many models. It is asked after they were put, since some of them may have
/// been there.
fn room_for_models(tx: &Transaction<'_>, put: &[ProfileModel]) -> Result<(), Stop> {
    within(tx, "SELECT count(*) FROM models", limit::REGISTRY_MODELS_MAX, "models")?;
    let mut counted: Vec<&str> = Vec::new();
    for ProfileModel { profile_id, .. } in put {
        if counted.contains(&profile_id.as_str()) {
            continue;
        }
        counted.push(profile_id);
        let sql = "SELECT count(*) FROM models WHERE profile_id = ?";
        let count: i64 = tx.query_row(sql, [profile_id], |row| row.get(0))?;
        if usize::try_from(count).is_ok_and(|count| count > limit::PROFILE_MODELS_MAX) {
            return Err(RegistryError::Full("models of a profile").into());
        }
    }
    Ok(())
}

fn is_there(tx: &Transaction<'_>, sql: &str, key: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached(sql)?.exists(params![key])
}

/// Whether there are not too many of those counted; asked after one was added.
fn within(tx: &Transaction<'_>, count: &str, max: usize, what: &'static str) -> Result<(), Stop> {
    let there: i64 = tx.query_row(count, [], |row| row.get(0))?;
    let fits = usize::try_from(there).is_ok_and(|there| there <= max);
    if fits { Ok(()) } else { Err(RegistryError::Full(what).into()) }
}

fn bounded(page: Page) -> Page {
    Page { limit: page.limit.min(limit::AUDIT_PAGE_MAX), ..page }
}

fn check_profile(profile: &Profile) -> Result<(), RegistryError> {
    check_length("profile's name", &profile.name, limit::PROFILE_NAME_BYTES_MAX)?;
    check_length("base URL", &profile.base_url, limit::PROFILE_URL_BYTES_MAX)?;
    if profile.credential.0.len() > limit::CREDENTIAL_BYTES_MAX + limit::SEAL_BYTES_MAX {
        return Err(RegistryError::TooLong("credential"));
    }
    Ok(())
}

fn check_model(model: &ProfileModel) -> Result<(), RegistryError> {
    check_length("model's name", &model.name, limit::MODEL_NAME_BYTES_MAX)?;
    if model.tags.len() > limit::MODEL_TAGS_MAX {
        return Err(RegistryError::TooLong("list of tags"));
    }
    let tags = &mut model.tags.iter();
    tags.try_for_each(|tag| check_length("tag", tag, limit::MODEL_TAG_BYTES_MAX))
}

fn check_length(what: &'static str, text: &str, max: usize) -> Result<(), RegistryError> {
    if text.len() <= max { Ok(()) } else { Err(RegistryError::TooLong(what)) }
}
