-- Row ids are composed: number of the log << 44 | n for writes, number of the series << 44 | position for places.
-- Every body is a record: format byte, key-id byte, content, CRC32 over its key and these bytes. The other columns
-- repeat what is in the body, to find it by; `verify` compares them.
CREATE TABLE log (
    ix INTEGER PRIMARY KEY, store BLOB NOT NULL, incarnation INTEGER NOT NULL, UNIQUE (store, incarnation)
) STRICT;
CREATE TABLE grp (
    ix INTEGER PRIMARY KEY, service TEXT NOT NULL, store TEXT NOT NULL, UNIQUE (service, store)
) STRICT;
-- A body is missing while rows have positions and nothing was said of the series itself.
CREATE TABLE series (
    ix INTEGER PRIMARY KEY, grp INTEGER NOT NULL, log INTEGER NOT NULL, body BLOB, UNIQUE (grp, log)
) STRICT;
CREATE TABLE place (at INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT;
CREATE TABLE request (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE write (
    id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, key INTEGER, standing INTEGER NOT NULL, clock INTEGER NOT NULL,
    lane INTEGER NOT NULL, pos INTEGER, body BLOB NOT NULL
) STRICT;
CREATE INDEX write_key ON write (grp, key) WHERE key IS NOT NULL;
CREATE INDEX write_open ON write (grp) WHERE standing = 1;
CREATE INDEX write_cancelled ON write (grp, clock) WHERE standing = 3;
-- `at` is the place of the write's position; missing while it has none. `lane` may be missing while the
-- write's row is. `first` is 1 for one entry of each lane, behind which its others stand, and for what has no lane; `waits` where
-- it is tried once more when others are decided.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, reason INTEGER NOT NULL, since INTEGER NOT NULL, at INTEGER, lane INTEGER,
    first INTEGER NOT NULL, waits INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX quarantine_since ON quarantine (grp, since);
CREATE INDEX quarantine_reason ON quarantine (grp, reason, since);
CREATE INDEX quarantine_place ON quarantine (grp, at);
CREATE INDEX quarantine_lane ON quarantine (grp, lane, since);
CREATE INDEX quarantine_first ON quarantine (grp, since) WHERE first = 1;
CREATE INDEX quarantine_head ON quarantine (grp, lane) WHERE first = 1;
CREATE INDEX quarantine_waits ON quarantine (grp, since) WHERE waits = 1;
CREATE TABLE stopped (grp INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE named (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- What tells a store that was put back to an older copy of itself.
CREATE TABLE age (grp INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
