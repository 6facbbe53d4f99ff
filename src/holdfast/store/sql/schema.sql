-- The whole schema, as all migrations leave it. Times are RFC 3339 text in UTC with milliseconds, money is integer
-- micro-units, documents are JSON. Written so that PostgreSQL takes it with other column types only.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

-- Several keys under one limit and one price.
CREATE TABLE key_group (
  id                     TEXT PRIMARY KEY,
  label                  TEXT NOT NULL UNIQUE,
  margin_share           DOUBLE PRECISION, -- added to an upstream's list price: 0.2 is a fifth; NULL: money.margin counts
  spend_micros_per_day   INTEGER,         -- of all its keys together, by UTC day and month; NULL: no limit
  spend_micros_per_month INTEGER,
  created_at             TEXT NOT NULL
);

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

-- What a key is presented as: one secret, and for a while after a rotation the one before it.
CREATE TABLE key_secret (
  digest     BLOB PRIMARY KEY,            -- HMAC-SHA256 of the key, keyed by the data folder's secret
  key_id     TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT                         -- of one that was replaced: how long it is valid beside the new one
);
CREATE INDEX key_secret_by_key ON key_secret (key_id, created_at);

CREATE TABLE generation (
  id                  TEXT PRIMARY KEY,
  key_id              TEXT NOT NULL,
  surface             TEXT NOT NULL,
  model               TEXT NOT NULL,
  tier                TEXT NOT NULL,
  size                TEXT NOT NULL,
  n                   INTEGER NOT NULL,
  request             BLOB,              -- purged with the images
  fingerprint         BLOB,
  fingerprint_version INTEGER,
  idempotency_key     TEXT,
  state               TEXT NOT NULL,
  epoch               INTEGER NOT NULL DEFAULT 0,
  drive               INTEGER NOT NULL DEFAULT 0,
  parts               INTEGER NOT NULL,
  parts_open          INTEGER NOT NULL,
  owner               TEXT,
  priority            INTEGER NOT NULL DEFAULT 0,
  cancel_requested    INTEGER NOT NULL DEFAULT 0,
  deadline_at         TEXT NOT NULL,
  hard_deadline       INTEGER NOT NULL DEFAULT 0,
  created_at          TEXT NOT NULL,
  started_at          TEXT,
  finished_at         TEXT,
  answered_at         TEXT,              -- last byte of an answer acknowledged
  collected_at        TEXT,              -- image bytes acknowledged
  purge_after         TEXT,
  traceparent         TEXT,
  currency            TEXT NOT NULL,
  unit_micros         INTEGER NOT NULL,
  held_micros         INTEGER NOT NULL,
  charged_micros      INTEGER NOT NULL DEFAULT 0,
  partial_result      INTEGER NOT NULL DEFAULT 0,
  late                INTEGER NOT NULL DEFAULT 0,
  failure             TEXT,              -- what the caller was told: {"code","message","charge","kind","reason"}
  sequence_number     INTEGER NOT NULL DEFAULT 0,
  callers             INTEGER NOT NULL DEFAULT 0,   -- connections that wait for its answer, in the process that …
  watched_by          TEXT,                          -- … is named here; those of another process are gone
  joins               INTEGER NOT NULL DEFAULT 0,    -- repeats that were given this generation
  list_micros         INTEGER NOT NULL DEFAULT 0, -- what the upstream takes for an image: without our margin
  compensated_micros  INTEGER NOT NULL DEFAULT 0,
  purged_at           TEXT,              -- images, prompt and the model's words were deleted
  metadata            TEXT,              -- {"name": "text", …}, as its caller gave it
  only_awaited        INTEGER NOT NULL DEFAULT 0,   -- asked for by callers who wait: nobody was told to come back for it
  held_on             TEXT NOT NULL DEFAULT '',      -- the day (UTC) of the hold, and …
  group_id            TEXT,                          -- … the group that it was counted against
  served_by           TEXT,              -- the upstream under which an end is counted; '': it was sent nowhere
  deleted_at          TEXT               -- its owner had images and prompt deleted
);
CREATE UNIQUE INDEX generation_by_idempotency_key ON generation (key_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE INDEX generation_open ON generation (created_at) WHERE state IN ('queued', 'running');
CREATE INDEX generation_by_fingerprint ON generation (key_id, fingerprint, created_at, id)
  WHERE fingerprint IS NOT NULL;
CREATE INDEX generation_by_key ON generation (key_id, created_at);
CREATE INDEX generation_to_purge ON generation (purge_after, id) WHERE purged_at IS NULL AND purge_after IS NOT NULL;

-- Which reference images a generation was asked with; several may name the same file.
CREATE TABLE input_ref (
  generation_id TEXT NOT NULL REFERENCES generation (id),
  store_key     TEXT NOT NULL,
  PRIMARY KEY (store_key, generation_id)
);
CREATE INDEX input_ref_by_generation ON input_ref (generation_id);

CREATE TABLE attempt (
  id               TEXT PRIMARY KEY,
  generation_id    TEXT NOT NULL REFERENCES generation (id),
  part             INTEGER NOT NULL,
  hedge            INTEGER NOT NULL DEFAULT 0,
  drive            INTEGER NOT NULL,
  number           INTEGER NOT NULL,     -- from 1, over all parts
  epoch            INTEGER NOT NULL,
  upstream         TEXT NOT NULL,
  provider         TEXT NOT NULL,
  model            TEXT NOT NULL,
  idempotency_key  TEXT NOT NULL,
  upstream_handle  TEXT,
  state            TEXT NOT NULL,
  charge           TEXT NOT NULL DEFAULT 'unknown' CHECK (charge IN ('no', 'yes', 'unknown')),
  sent_at          TEXT NOT NULL,
  received_at      TEXT,                 -- when the whole answer was in the spool
  ended_at         TEXT,
  http_status      INTEGER,
  failure          TEXT,                 -- {"kind","phase","charge","detail",…}
  usage            TEXT,
  estimated_micros INTEGER NOT NULL,
  answer           BLOB,                 -- the upstream's document, images replaced by their numbers
  retry_at         TEXT,                 -- when its part goes on; NULL: the part ended with it
  key_number       INTEGER,              -- place of the key in its upstream's settings, from 1
  route            TEXT,                 -- the public model whose entry it was
  tier             TEXT,                 -- the size that it was asked for
  list_micros      INTEGER,              -- prices of an image that it makes; NULL: those of the generation
  unit_micros      INTEGER,
  decision         TEXT,                 -- what was decided after it failed: {"follows","reason","after_s","to",…}
  outrun           INTEGER NOT NULL DEFAULT 0, -- another attempt brought the image of its part while it was in flight
  UNIQUE (generation_id, number)
);
-- One payer at a time, and one beside it that was sent because the first is slow (hedge 1).
CREATE UNIQUE INDEX attempt_open ON attempt (generation_id, part, hedge) WHERE state IN ('sent', 'polling');

CREATE TABLE blob (
  id            TEXT PRIMARY KEY,
  generation_id TEXT NOT NULL REFERENCES generation (id),
  attempt_id    TEXT NOT NULL REFERENCES attempt (id),
  part          INTEGER NOT NULL,
  position      INTEGER NOT NULL,        -- the image's number in its answer
  kind          TEXT NOT NULL CHECK (kind IN ('result', 'draft', 'late')),
  store_key     TEXT NOT NULL UNIQUE,
  sha256        TEXT NOT NULL,
  bytes         INTEGER NOT NULL,
  mime          TEXT NOT NULL,
  width_px      INTEGER NOT NULL,
  height_px     INTEGER NOT NULL,
  state         TEXT NOT NULL DEFAULT 'stored',
  delete_after  TEXT,
  collected_at  TEXT,                    -- its bytes were acknowledged
  UNIQUE (attempt_id, position)
);
CREATE INDEX blob_by_generation ON blob (generation_id);

CREATE TABLE ledger_txn (
  id            INTEGER PRIMARY KEY,
  kind          TEXT NOT NULL,
  generation_id TEXT NOT NULL,
  drive         INTEGER NOT NULL,
  attempt_id    TEXT NOT NULL DEFAULT '', -- of the provider's side; empty: the customer's
  at            TEXT NOT NULL,
  UNIQUE (generation_id, drive, attempt_id, kind)
);
-- A hold resolves once.
CREATE UNIQUE INDEX ledger_txn_resolved ON ledger_txn (generation_id, drive) WHERE kind IN ('capture', 'void');
CREATE TABLE ledger_entry (
  txn_id  INTEGER NOT NULL REFERENCES ledger_txn (id),
  account TEXT NOT NULL,
  micros  INTEGER NOT NULL
);
CREATE INDEX ledger_entry_by_txn ON ledger_entry (txn_id);
CREATE TABLE account (
  id      TEXT PRIMARY KEY,
  balance INTEGER NOT NULL DEFAULT 0
);
-- What stands against the budgets of keys and groups, by the day (UTC) of the hold: charged, and held for what is open.
CREATE TABLE spend_day (
  owner    TEXT NOT NULL,                -- key:ID or group:ID
  day      TEXT NOT NULL,
  currency TEXT NOT NULL,
  micros   INTEGER NOT NULL,
  PRIMARY KEY (owner, day, currency)
);
-- What each rule has given back on each day (UTC), for its cap.
CREATE TABLE compensation_day (
  day    TEXT NOT NULL,
  reason TEXT NOT NULL,
  micros INTEGER NOT NULL,
  PRIMARY KEY (day, reason)
);

-- What was used, by day (UTC): generations and images on the day of their end, money on the day of its transaction.
CREATE TABLE usage_day (
  day                TEXT NOT NULL,
  key_id             TEXT NOT NULL,
  model              TEXT NOT NULL,
  tier               TEXT NOT NULL,
  upstream           TEXT NOT NULL,
  outcome            TEXT NOT NULL,      -- succeeded, cancelled, the code of a failure, or open
  currency           TEXT NOT NULL,
  generations        INTEGER NOT NULL DEFAULT 0,
  images             INTEGER NOT NULL DEFAULT 0,
  charged_micros     INTEGER NOT NULL DEFAULT 0,
  compensated_micros INTEGER NOT NULL DEFAULT 0,
  cost_micros        INTEGER NOT NULL DEFAULT 0,
  extra_micros       INTEGER NOT NULL DEFAULT 0,
  unknown_micros     INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (day, key_id, model, tier, upstream, outcome, currency)
);

-- What has been bought a second time on each day (UTC), after an attempt of unknown outcome, for its cap.
CREATE TABLE exposure_day (
  day    TEXT NOT NULL,
  model  TEXT NOT NULL,
  micros INTEGER NOT NULL,
  PRIMARY KEY (day, model)
);

CREATE TABLE event (
  generation_id   TEXT NOT NULL REFERENCES generation (id),
  sequence_number INTEGER NOT NULL,
  at              TEXT NOT NULL,
  type            TEXT NOT NULL,
  data            TEXT,
  PRIMARY KEY (generation_id, sequence_number)
);

CREATE TABLE webhook_endpoint (
  id             TEXT PRIMARY KEY,
  key_id         TEXT NOT NULL,
  url            TEXT,                  -- NULL: the key's default, whose secret signs for inline URLs
  secret_number  INTEGER NOT NULL,      -- from 1; the secret is derived from it and the data folder's
  previous_until TEXT,                  -- until then the secret before it signs too
  created_at     TEXT NOT NULL,
  disabled_at    TEXT,
  reason         TEXT,
  deleted_at     TEXT                   -- its deliveries go in small steps, then the row
);
CREATE INDEX webhook_endpoint_by_key ON webhook_endpoint (key_id) WHERE deleted_at IS NULL;
CREATE INDEX webhook_endpoint_deleted ON webhook_endpoint (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX webhook_endpoint_default ON webhook_endpoint (key_id) WHERE url IS NULL AND deleted_at IS NULL;

CREATE TABLE webhook_inline (
  generation_id TEXT PRIMARY KEY,
  url           TEXT NOT NULL
);

CREATE TABLE webhook_delivery (
  id            TEXT PRIMARY KEY,
  endpoint_id   TEXT NOT NULL REFERENCES webhook_endpoint (id),
  key_id        TEXT NOT NULL,
  url           TEXT,                   -- inline; NULL: the endpoint's
  generation_id TEXT NOT NULL,          -- kept longer than the generation, so no reference
  drive         INTEGER NOT NULL,
  type          TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'dead')),
  tries         INTEGER NOT NULL DEFAULT 0,
  next_at       TEXT,
  last_status   INTEGER,
  last_error    TEXT,
  created_at    TEXT NOT NULL,
  ended_at      TEXT,
  log           TEXT NOT NULL DEFAULT '[]', -- the latest tries, a bounded number
  UNIQUE (endpoint_id, generation_id, drive, type)
);
CREATE INDEX webhook_delivery_by_endpoint ON webhook_delivery (endpoint_id, id);
CREATE INDEX webhook_delivery_pending ON webhook_delivery (next_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_ended ON webhook_delivery (ended_at) WHERE state <> 'pending';

-- What was learnt of upstreams' latencies, by hour, for a week.
CREATE TABLE latency_sketch (
  upstream   TEXT NOT NULL,
  model      TEXT NOT NULL,              -- the public name
  tier       TEXT NOT NULL,
  hour       INTEGER NOT NULL,           -- whole hours since 1970-01-01T00:00Z
  format     INTEGER NOT NULL,           -- of the buckets: how wide they are
  timed_out  INTEGER NOT NULL DEFAULT 0, -- samples that were not awaited to their end
  buckets    TEXT NOT NULL,              -- {"bucket": samples, …}
  updated_at TEXT NOT NULL,
  PRIMARY KEY (upstream, model, tier, hour)
);
CREATE INDEX latency_sketch_by_hour ON latency_sketch (hour);

-- Who has signed in to the console, and the log of changes.
CREATE TABLE session (
  digest        BLOB PRIMARY KEY,        -- HMAC-SHA256 of the cookie, keyed by the data folder's secret
  key_id        TEXT NOT NULL,
  secret_digest BLOB NOT NULL,           -- of the key it was opened with: it ends with that
  created_at    TEXT NOT NULL,
  expires_at    TEXT NOT NULL
);
CREATE INDEX session_by_key ON session (key_id, created_at);

CREATE TABLE audit (
  id      INTEGER PRIMARY KEY,
  at      TEXT NOT NULL,
  actor   TEXT NOT NULL,                 -- the id of a key
  action  TEXT NOT NULL,                 -- key.revoked, generation.cancelled, …
  target  TEXT NOT NULL,                 -- what was changed
  details TEXT                           -- {"name": value, …}, without secrets
);

CREATE INDEX generation_by_creation ON generation (created_at);
-- All that sums over ends need: rows are not looked at, whose requests may be kilobytes.
CREATE INDEX generation_by_end ON generation (finished_at, state, charged_micros, compensated_micros)
  WHERE finished_at IS NOT NULL;
CREATE INDEX generation_uncollected ON generation (created_at, id)
  WHERE state = 'succeeded' AND collected_at IS NULL AND purged_at IS NULL;
CREATE INDEX generation_failed ON generation (finished_at, failure, state) WHERE state = 'failed';
CREATE INDEX attempt_failed ON attempt (ended_at) WHERE failure IS NOT NULL;
CREATE INDEX attempt_unknown ON attempt (sent_at) WHERE charge = 'unknown' AND state NOT IN ('sent', 'polling');

-- Processes that share a database: who of them lives, and how fast they call with each credential, all together.
CREATE TABLE replica (
  owner   TEXT PRIMARY KEY,              -- as in generation.owner, and generation.watched_by
  role    TEXT NOT NULL,                 -- serve, work or all
  seen_us INTEGER NOT NULL               -- its last sign of life; microseconds since 1970, by the database's clock
);
CREATE TABLE upstream_pace (
  upstream   TEXT NOT NULL,
  key_number INTEGER NOT NULL,           -- as in attempt.key_number
  due_us     INTEGER NOT NULL,           -- the next call is due then, if calls come evenly (GCRA); as seen_us
  day        TEXT NOT NULL,              -- UTC
  sent       INTEGER NOT NULL,           -- calls of that day
  PRIMARY KEY (upstream, key_number)
);

-- Images that the bucket did not take when they came, for processes whose disks nobody else sees and nobody keeps.
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
