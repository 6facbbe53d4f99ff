-- An attempt that failed for nothing may be followed by another of its part: a start after a crash must know which
-- parts go on. And whether anybody was told to come back for a generation, or only waits for it.
-- Runs before the code that needs it.

ALTER TABLE attempt ADD COLUMN retry_at TEXT;
ALTER TABLE generation ADD COLUMN only_awaited INTEGER NOT NULL DEFAULT 0;
