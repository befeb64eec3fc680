-- Schema 2: what people were told, so that a level is told once, also across restarts and by two
-- processes that share the file.

-- The last level of the fleet, and the largest share of its limit that an account was told to have
-- spent, in percent. A new period, a reset or another limit makes it news again.
CREATE TABLE told (
  account INTEGER PRIMARY KEY,
  level INTEGER NOT NULL,
  lifted INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  reset_at_ms INTEGER,
  limit_nano INTEGER,
  share INTEGER
) STRICT;

-- The provider's own name for an attempt, with its settlement; of a hold in limbo it stands in both.
ALTER TABLE entry ADD COLUMN generation TEXT;
ALTER TABLE open ADD COLUMN generation TEXT;

-- What a hold in limbo is booked at, where that is an estimate and not all that was held.
ALTER TABLE open ADD COLUMN booked INTEGER;
