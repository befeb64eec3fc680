-- The ledger, schema 1. Money is in nano-dollars (1e-9 USD), time in milliseconds since the Unix epoch.
-- 9223372036854775807 as the end of a period means never.

-- What is known of the file.
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each process that wrote here. A hold's epoch is `hold >> 40`.
CREATE TABLE node (
  epoch INTEGER PRIMARY KEY AUTOINCREMENT,
  pid INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER
) STRICT;

-- The accounts as they are now; `account_change` has their past.
CREATE TABLE account (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  parent INTEGER,
  limit_nano INTEGER,
  cadence TEXT NOT NULL,
  zone TEXT NOT NULL,
  hard INTEGER NOT NULL,
  limit_set_nano INTEGER,
  frozen INTEGER NOT NULL,
  reset_at_ms INTEGER
) STRICT;

-- The balances. They follow from the entries; `cap` is that of the latest hold or spend.
CREATE TABLE period (
  account INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  cap INTEGER,
  spent INTEGER NOT NULL,
  held INTEGER NOT NULL,
  PRIMARY KEY (account, start_ms)
) STRICT, WITHOUT ROWID;

-- Finds the periods of one account that have not ended.
CREATE INDEX period_end ON period (account, end_ms);

-- Holds without an outcome, and those whose outcome is not known (limbo). `made` is the hold's entry.
CREATE TABLE open (
  hold INTEGER PRIMARY KEY,
  limbo INTEGER NOT NULL,
  made INTEGER NOT NULL,
  path INTEGER NOT NULL,
  held INTEGER NOT NULL
) STRICT;

-- Names of models.
CREATE TABLE name (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

-- Who pays, in which periods, under which caps. `digest` finds equal ones.
CREATE TABLE path (
  id INTEGER PRIMARY KEY,
  digest INTEGER NOT NULL
) STRICT;

CREATE INDEX path_digest ON path (digest);

-- The steps of a path, leaf first.
CREATE TABLE path_step (
  path INTEGER NOT NULL,
  at INTEGER NOT NULL,
  account INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  cap INTEGER,
  PRIMARY KEY (path, at)
) STRICT, WITHOUT ROWID;

-- What happened. Never changed, never deleted. Entries that resolve a hold (kinds 3 to 6) name the
-- hold's own entry in `made`, and have its request; `hold` and `request` stand there only.
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  reason INTEGER NOT NULL,
  hold INTEGER,
  made INTEGER,
  path INTEGER,
  held INTEGER NOT NULL,
  spent INTEGER NOT NULL,
  request BLOB,
  attempt INTEGER NOT NULL,
  model INTEGER,
  price_version INTEGER NOT NULL,
  input INTEGER,
  cache_read INTEGER,
  cache_write INTEGER,
  cache_write_1h INTEGER,
  output INTEGER,
  reasoning INTEGER,
  hash BLOB NOT NULL
) STRICT;

-- The account as it is after entry `seq`, for kind 1.
CREATE TABLE account_change (
  seq INTEGER PRIMARY KEY,
  id INTEGER NOT NULL,
  key TEXT NOT NULL,
  parent INTEGER,
  limit_nano INTEGER,
  cadence TEXT NOT NULL,
  zone TEXT NOT NULL,
  hard INTEGER NOT NULL,
  limit_set_nano INTEGER,
  frozen INTEGER NOT NULL,
  reset_at_ms INTEGER
) STRICT;
