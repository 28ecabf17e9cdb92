-- What tells a store that was put back to an older copy of itself.
CREATE TABLE age (grp INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
