-- Images that the bucket did not take when they came, for processes whose disks nobody else sees and nobody keeps. Empty
-- while it takes them. Runs before the code that needs it; an older one goes on beside it.

CREATE TABLE overflow (
  store_key  TEXT PRIMARY KEY,           -- where it is to go; as in blob.store_key and input_ref.store_key
  sha256     TEXT NOT NULL,              -- hexadecimal
  bytes      INTEGER NOT NULL,
  written_at TEXT NOT NULL,              -- RFC 3339; put again, it is young again
  is_whole   INTEGER NOT NULL            -- 1: all pieces are there
);
CREATE INDEX overflow_by_age ON overflow (written_at, store_key);
CREATE TABLE overflow_piece (
  store_key TEXT NOT NULL,
  n         INTEGER NOT NULL,            -- from 0
  bytes     BLOB NOT NULL,               -- a mebibyte; the last one less
  PRIMARY KEY (store_key, n)
);
