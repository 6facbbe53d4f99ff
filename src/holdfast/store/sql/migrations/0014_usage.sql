-- What was used, rolled up by day: kept in the transactions that write ends and move money. Runs before the code that
-- needs it.

ALTER TABLE generation ADD COLUMN served_by TEXT;
UPDATE generation SET served_by = coalesce((
  SELECT attempt.upstream FROM blob JOIN attempt ON attempt.id = blob.attempt_id
  WHERE blob.generation_id = generation.id AND blob.kind = 'result' ORDER BY blob.part, blob.position LIMIT 1
), (
  SELECT upstream FROM attempt WHERE generation_id = generation.id AND drive = generation.drive
  ORDER BY number DESC LIMIT 1
), '') WHERE state NOT IN ('queued', 'running');

CREATE TABLE usage_day (
  day                TEXT NOT NULL,
  key_id             TEXT NOT NULL,
  model              TEXT NOT NULL,
  tier               TEXT NOT NULL,
  upstream           TEXT NOT NULL,
  outcome            TEXT NOT NULL,
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

-- What had ended before is counted as it stands: generations on the day of their end, money on the day it was booked.
INSERT INTO usage_day
SELECT day, key_id, model, tier, upstream, outcome, currency, sum(generations), sum(images), sum(charged),
  sum(compensated), sum(cost), sum(extra), sum(unknown)
FROM (
  SELECT substr(finished_at, 1, 10) AS day, key_id, model, tier, served_by AS upstream,
    CASE state WHEN 'failed' THEN coalesce(json_extract(failure, '$.code'), 'failed') ELSE state END AS outcome,
    currency, 1 AS generations, CASE
      WHEN state <> 'succeeded' THEN 0
      WHEN partial_result THEN (SELECT count(*) FROM blob WHERE generation_id = generation.id AND kind = 'result')
      ELSE n
    END AS images, 0 AS charged, 0 AS compensated, 0 AS cost, 0 AS extra, 0 AS unknown
  FROM generation WHERE state NOT IN ('queued', 'running') AND finished_at IS NOT NULL
  UNION ALL
  SELECT substr(ledger_txn.at, 1, 10), key_id, generation.model, generation.tier,
    coalesce(attempt.upstream, served_by, ''), CASE
      WHEN generation.state IN ('queued', 'running') THEN 'open'
      WHEN generation.state = 'failed' THEN coalesce(json_extract(generation.failure, '$.code'), 'failed')
      ELSE generation.state
    END, currency, 0, 0,
    CASE account WHEN 'revenue' THEN -micros ELSE 0 END, CASE account WHEN 'compensation' THEN micros ELSE 0 END,
    CASE account WHEN 'provider_cost' THEN micros ELSE 0 END, CASE account WHEN 'extra_images' THEN micros ELSE 0 END,
    CASE account WHEN 'unknown_exposure' THEN micros ELSE 0 END
  FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id JOIN generation ON generation.id = ledger_txn.generation_id
    LEFT JOIN attempt ON attempt.id = ledger_txn.attempt_id
  WHERE account IN ('revenue', 'compensation', 'provider_cost', 'extra_images', 'unknown_exposure')
)
GROUP BY day, key_id, model, tier, upstream, outcome, currency;
