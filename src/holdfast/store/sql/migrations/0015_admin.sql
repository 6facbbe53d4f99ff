-- Who has signed in, what was changed by whom, and indexes for what is shown of all keys together. Runs before the code
-- that needs it; an older one goes on beside it.

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
