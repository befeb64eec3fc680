-- Schema 3: finds the entries that set what an account has spent (kinds 8 and 9), which are few: what was
-- carried over from another calendar must not be counted a second time.

CREATE INDEX entry_level ON entry (at_ms) WHERE kind IN (8, 9);
