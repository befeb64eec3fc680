//! Rows of the registry as values. Every function is one or two statements; what may be written, and which
//! transaction it is part of, `registry` decides.

use rusqlite::{Connection, Params, Result, Row, ToSql, params, params_from_iter};

use crate::store::registry::{
    Active, Page, Profile, ProfileModel, RequestRow, Resealed, Sealed, SwitchRow,
};
use crate::store::sqlite::rows::{flag, senseless};
use crate::upstream::kind::ProviderKind;

/// Rows of the audit in one statement.
const REQUESTS_AT_ONCE: usize = 16;

/// All profiles by name.
pub fn profiles(conn: &Connection) -> Result<Vec<Profile>> {
    let sql = "SELECT id, name, kind, base_url, credential, key_id, created_ms FROM profiles
               ORDER BY name";
    all(conn, sql, [], |row| {
        let kind: String = row.get(2)?;
        Ok(Profile {
            id: row.get(0)?,
            name: row.get(1)?,
            kind: ProviderKind::from_name(&kind).ok_or_else(|| senseless(2, "a provider type"))?,
            base_url: row.get(3)?,
            credential: Sealed(row.get(4)?),
            key_id: row.get(5)?,
            created_ms: row.get(6)?,
        })
    })
}

/// Keeps a new profile.
pub fn add_profile(conn: &Connection, profile: &Profile) -> Result<()> {
    let Profile { id, name, kind, base_url, credential, key_id, created_ms } = profile;
    let sql = "INSERT INTO profiles (id, name, kind, base_url, credential, key_id, created_ms)
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let row = params![id, name, kind.name(), base_url, credential.0, key_id, created_ms];
    conn.prepare_cached(sql)?.execute(row).map(drop)
}

/// Puts another credential in the place of a profile's.
pub fn set_credential(conn: &Connection, id: &str, to: &Resealed) -> Result<()> {
    let sql = "UPDATE profiles SET credential = ?, key_id = ? WHERE id = ?";
    conn.prepare_cached(sql)?.execute(params![to.credential.0, to.key_id, id]).map(drop)
}

/// The agents that are switched to what has that name.
pub fn users(conn: &Connection, profile: &str) -> Result<Vec<String>> {
    let sql = "SELECT agent FROM agent_state WHERE profile = ? ORDER BY agent";
    all(conn, sql, [profile], |row| row.get(0))
}

/// All models, by profile and name.
pub fn models(conn: &Connection) -> Result<Vec<ProfileModel>> {
    let sql = "SELECT profile_id, name, enabled, tags, max_tokens FROM models
               ORDER BY profile_id, name";
    all(conn, sql, [], |row| {
        let tags: String = row.get(3)?;
        let max_tokens: Option<i64> = row.get(4)?;
        Ok(ProfileModel {
            profile_id: row.get(0)?,
            name: row.get(1)?,
            enabled: flag(row, 2)?,
            tags: read_tags(&tags).ok_or_else(|| senseless(3, "a list of texts"))?,
            max_tokens: max_tokens.map(i64::cast_unsigned),
        })
    })
}

/// Adds a model, or changes the one that is there.
pub fn put_model(conn: &Connection, model: &ProfileModel) -> Result<()> {
    let ProfileModel { profile_id, name, enabled, tags, max_tokens } = model;
    let sql = "INSERT OR REPLACE INTO models (profile_id, name, enabled, tags, max_tokens)
               VALUES (?, ?, ?, ?, ?)";
    let tags = serde_json::Value::from(tags.as_slice()).to_string();
    let max_tokens = max_tokens.map(u64::cast_signed);
    let row = params![profile_id, name, enabled, tags, max_tokens];
    conn.prepare_cached(sql)?.execute(row).map(drop)
}

fn read_tags(json: &str) -> Option<Vec<String>> {
    let serde_json::Value::Array(items) = serde_json::from_str(json).ok()? else { return None };
    items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// What every agent is switched to.
pub fn active(conn: &Connection) -> Result<Vec<Active>> {
    let sql = "SELECT agent, profile, model, since_ms FROM agent_state ORDER BY agent";
    all(conn, sql, [], |row| {
        Ok(Active {
            agent: row.get(0)?,
            profile: row.get(1)?,
            model: row.get(2)?,
            since_ms: row.get(3)?,
        })
    })
}

/// Switches an agent.
pub fn set_active(conn: &Connection, to: &Active) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO agent_state (agent, profile, model, since_ms)
               VALUES (?, ?, ?, ?)";
    let row = params![to.agent, to.profile, to.model, to.since_ms];
    conn.prepare_cached(sql)?.execute(row).map(drop)
}

/// Keeps a switch in the audit.
pub fn add_switch(conn: &Connection, switch: &SwitchRow) -> Result<()> {
    let SwitchRow { id: _, at_ms, agent, from, to, by } = switch;
    let sql = "INSERT INTO audit_switches (at_ms, agent, from_model, to_model, by_key)
               VALUES (?, ?, ?, ?, ?)";
    conn.prepare_cached(sql)?.execute(params![at_ms, agent, from, to, by]).map(drop)
}

/// Keeps requests in the audit.
pub fn add_requests(conn: &Connection, requests: &[RequestRow]) -> Result<()> {
    // Many rows in one statement: each statement looks the last number up and notes it anew, which is as much
    // work as a row.
    let (pieces, rest) = requests.as_chunks::<REQUESTS_AT_ONCE>();
    for piece in pieces {
        insert_requests(conn, piece)?;
    }
    rest.iter().try_for_each(|row| insert_requests(conn, std::slice::from_ref(row)))
}

fn insert_requests(conn: &Connection, requests: &[RequestRow]) -> Result<()> {
    let places = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; requests.len()].join(", ");
    let mut insert = conn.prepare_cached(&format!(
        "INSERT INTO audit_requests
             (at_ms, request_id, agent, provider, model, surface, status, prompt_sha256)
         VALUES {places}"
    ))?;
    let values = requests.iter().flat_map(|request| {
        let values: [&dyn ToSql; 8] = [
            &request.at_ms,
            &request.request_id,
            &request.agent,
            &request.provider,
            &request.model,
            &request.surface,
            &request.status,
            &request.prompt_sha256,
        ];
        values
    });
    insert.execute(params_from_iter(values)).map(drop)
}

/// A piece of the audit of requests.
pub fn requests(conn: &Connection, page: Page) -> Result<Vec<RequestRow>> {
    let sql = "SELECT id, at_ms, request_id, agent, provider, model, surface, status, prompt_sha256
               FROM audit_requests WHERE id > ? ORDER BY id LIMIT ?";
    all(conn, sql, params![page.after, count(page.limit)], |row| {
        Ok(RequestRow {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            request_id: row.get(2)?,
            agent: row.get(3)?,
            provider: row.get(4)?,
            model: row.get(5)?,
            surface: row.get(6)?,
            status: row.get(7)?,
            prompt_sha256: row.get(8)?,
        })
    })
}

/// A piece of the audit of switches.
pub fn switches(conn: &Connection, page: Page) -> Result<Vec<SwitchRow>> {
    let sql = "SELECT id, at_ms, agent, from_model, to_model, by_key
               FROM audit_switches WHERE id > ? ORDER BY id LIMIT ?";
    all(conn, sql, params![page.after, count(page.limit)], |row| {
        Ok(SwitchRow {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            agent: row.get(2)?,
            from: row.get(3)?,
            to: row.get(4)?,
            by: row.get(5)?,
        })
    })
}

/// Whether the audit has rows from before that time.
pub fn has_before(conn: &Connection, unix_ms: i64) -> Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM audit_requests WHERE at_ms < ?1
         UNION ALL SELECT 1 FROM audit_switches WHERE at_ms < ?1",
    )?
    .exists([unix_ms])
}

/// Forgets at most `max` of the oldest rows of an audit from before that time; says how many went.
pub fn forget(conn: &Connection, table: &str, unix_ms: i64, max: usize) -> Result<usize> {
    let sql = format!(
        "DELETE FROM {table} WHERE id IN
             (SELECT id FROM {table} WHERE at_ms < ? ORDER BY at_ms LIMIT ?)"
    );
    conn.prepare_cached(&sql)?.execute(params![unix_ms, count(max)])
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    row: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, row)?.collect()
}

/// A number of rows as the engine takes it.
fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
