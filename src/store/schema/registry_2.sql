-- Where sessions are pinned, so that pins outlive a restart and are shared by all nodes of one store. A session is
-- a hash; no text of a request is in it. Without a model it has no pin any more. Numbers are never used twice, so
-- that a reader can go on where it stopped.
CREATE TABLE IF NOT EXISTS pins (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  session BLOB NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  model TEXT,
  detail TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS pins_at ON pins (at_ms);

UPDATE registry_meta SET schema = 2;
