-- A key is more than one secret: it has a group, scopes, limits and an end, and its secrets rotate under its id.
-- Runs before the code that needs it; an older one cannot read what this leaves.

CREATE TABLE key_group (
  id                     TEXT PRIMARY KEY,
  label                  TEXT NOT NULL UNIQUE,
  margin_share           DOUBLE PRECISION, -- added to an upstream's list price: 0.2 is a fifth; NULL: money.margin counts
  spend_micros_per_day   INTEGER,         -- of all its keys together, by UTC day and month; NULL: no limit
  spend_micros_per_month INTEGER,
  created_at             TEXT NOT NULL
);

CREATE TABLE key_secret (
  digest     BLOB PRIMARY KEY,            -- HMAC-SHA256 of the key, keyed by the data folder's secret
  key_id     TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT                         -- of one that was replaced: how long it is valid beside the new one
);
CREATE INDEX key_secret_by_key ON key_secret (key_id, created_at);
INSERT INTO key_secret (digest, key_id, created_at) SELECT digest, id, created_at FROM api_key;

-- A column that is unique cannot be dropped, so the table is made anew.
ALTER TABLE api_key RENAME TO api_key_before;
CREATE TABLE api_key (
  id                     TEXT PRIMARY KEY,
  label                  TEXT NOT NULL,
  created_at             TEXT NOT NULL,
  revoked_at             TEXT,
  expires_at             TEXT,
  join_mode              TEXT NOT NULL DEFAULT 'retries',   -- whose repeats join: all, retries, keyed, off
  group_id               TEXT REFERENCES key_group (id),
  is_admin               INTEGER NOT NULL DEFAULT 0,
  models                 TEXT,            -- JSON lists of what it may ask for; NULL: everything
  sizes                  TEXT,
  surfaces               TEXT,
  rate_per_min           INTEGER,         -- generations accepted in a minute; NULL: no limit, here and below
  concurrency            INTEGER,         -- generations open at once
  spend_micros_per_day   INTEGER,         -- by UTC day and month
  spend_micros_per_month INTEGER,
  purchases_max          INTEGER,         -- how often a part may be bought where an outcome is unknown
  tls_required           INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX api_key_by_group ON api_key (group_id) WHERE group_id IS NOT NULL;
INSERT INTO api_key (id, label, created_at, revoked_at, join_mode)
  SELECT id, label, created_at, revoked_at, join_mode FROM api_key_before;
DROP TABLE api_key_before;
-- Whoever made the first key runs the gateway; where he took that back, the next one is his.
UPDATE api_key SET is_admin = 1
  WHERE id = (SELECT id FROM api_key ORDER BY revoked_at IS NOT NULL, created_at, id LIMIT 1);
