-- What keys and groups spend each day, for their budgets. Runs before the code that needs it.

-- The day (UTC) of the hold, and the group it was counted against: what comes back goes where it came from.
ALTER TABLE generation ADD COLUMN held_on TEXT NOT NULL DEFAULT '';
ALTER TABLE generation ADD COLUMN group_id TEXT;
UPDATE generation SET held_on = coalesce((
    SELECT substr(max(at), 1, 10) FROM ledger_txn
    WHERE generation_id = generation.id AND drive = generation.drive AND attempt_id = '' AND kind = 'hold'
  ), substr(created_at, 1, 10));

CREATE TABLE spend_day (
  owner  TEXT NOT NULL,
  day    TEXT NOT NULL,
  micros INTEGER NOT NULL,
  PRIMARY KEY (owner, day)
);
INSERT INTO spend_day (owner, day, micros)
SELECT 'key:' || key_id, held_on,
  sum(CASE WHEN state IN ('queued', 'running') THEN held_micros ELSE charged_micros - compensated_micros END)
FROM generation GROUP BY key_id, held_on;
