-- Repeats join: who is waiting for a generation, and whose repeats are recognised. Runs before the code that needs it.

ALTER TABLE generation ADD COLUMN callers INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generation ADD COLUMN watched_by TEXT;
ALTER TABLE generation ADD COLUMN joins INTEGER NOT NULL DEFAULT 0;
CREATE INDEX generation_by_fingerprint ON generation (key_id, fingerprint, created_at, id)
  WHERE fingerprint IS NOT NULL;

ALTER TABLE api_key ADD COLUMN join_mode TEXT NOT NULL DEFAULT 'retries';
-- Until now every key was somebody's first, and so his own.
UPDATE api_key SET join_mode = 'all';
