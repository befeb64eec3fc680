-- What operators keep beside the ledger, registry schema 1. Times are in milliseconds since the Unix epoch.
-- Its version stands in `registry_meta` and not in `user_version`, which is the ledger's.

CREATE TABLE IF NOT EXISTS registry_meta (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  schema INTEGER NOT NULL,
  -- Rises with every change of profiles, models or switches.
  version INTEGER NOT NULL
) STRICT;

-- Accounts at providers. `credential` is sealed by the key that `key_id` names.
CREATE TABLE IF NOT EXISTS profiles (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  base_url TEXT NOT NULL,
  credential BLOB NOT NULL,
  key_id TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Their models. `tags` is a JSON list of texts.
CREATE TABLE IF NOT EXISTS models (
  profile_id TEXT NOT NULL,
  name TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  tags TEXT NOT NULL,
  max_tokens INTEGER,
  PRIMARY KEY (profile_id, name)
) STRICT, WITHOUT ROWID;

-- What each agent is switched to: a profile, or a provider of the configuration, by name.
CREATE TABLE IF NOT EXISTS agent_state (
  agent TEXT PRIMARY KEY,
  profile TEXT NOT NULL,
  model TEXT NOT NULL,
  since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbers are never used twice, so that a reader can go on where it stopped.
CREATE TABLE IF NOT EXISTS audit_switches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  agent TEXT NOT NULL,
  from_model TEXT,
  to_model TEXT NOT NULL,
  by_key TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS audit_switches_at ON audit_switches (at_ms);

-- `prompt_sha256` is all that is kept of what was asked.
CREATE TABLE IF NOT EXISTS audit_requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  surface TEXT NOT NULL,
  status INTEGER NOT NULL,
  prompt_sha256 BLOB
) STRICT;

CREATE INDEX IF NOT EXISTS audit_requests_at ON audit_requests (at_ms);
