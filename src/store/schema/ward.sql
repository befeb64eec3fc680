-- What the guard keeps beside the ledger, guard schema 1. Times are in milliseconds since the Unix epoch.
-- Every name begins with `guard_`. Its version stands in `guard_meta` and not in `user_version`.

CREATE TABLE IF NOT EXISTS guard_meta (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  schema INTEGER NOT NULL,
  -- Rises whenever a key is shut out or let in.
  version INTEGER NOT NULL,
  -- What canaries are made of.
  secret BLOB
) STRICT;

-- `content` is a hash: the same content is one strike.
CREATE TABLE IF NOT EXISTS guard_strikes (
  key_id TEXT NOT NULL,
  content INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (key_id, content)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS guard_strikes_at ON guard_strikes (at_ms);

-- Keys that were ever struck and are not forgotten. `until_ms` is NULL where there is no end; `banned` is 0
-- where the key was never shut out.
CREATE TABLE IF NOT EXISTS guard_keys (
  key_id TEXT PRIMARY KEY,
  agent TEXT NOT NULL,
  last_ms INTEGER NOT NULL,
  banned INTEGER NOT NULL,
  until_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS guard_keys_last ON guard_keys (last_ms);

CREATE TABLE IF NOT EXISTS guard_audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  event TEXT NOT NULL,
  key_id TEXT NOT NULL,
  by_key TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  rules TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS guard_days (
  day INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (day, kind, name)
) STRICT, WITHOUT ROWID;
