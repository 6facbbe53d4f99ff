-- name: counts
SELECT (SELECT count(*) FROM generation) AS generations, (SELECT count(*) FROM attempt) AS attempts,
  (SELECT count(*) FROM ledger_txn) AS transactions;

-- name: unbalanced
SELECT ledger_txn.id, kind, generation_id, coalesce(sum(micros), 0) AS micros
FROM ledger_txn LEFT JOIN ledger_entry ON txn_id = ledger_txn.id
GROUP BY ledger_txn.id, kind, generation_id HAVING coalesce(sum(micros), 1) <> 0 LIMIT :most;

-- name: held_for_open
SELECT coalesce(sum(held_micros), 0) FROM generation WHERE state IN ('queued', 'running');

-- name: exposed_now
SELECT coalesce(sum(estimated_micros), 0) FROM attempt WHERE state = 'unknown';

-- name: unresolved
-- Holds of what has ended, or of a drive before the present one.
SELECT hold.generation_id, hold.drive FROM ledger_txn AS hold LEFT JOIN generation ON generation.id = hold.generation_id
WHERE hold.kind = 'hold'
  AND (generation.id IS NULL OR generation.state NOT IN ('queued', 'running') OR hold.drive < generation.drive)
  AND NOT EXISTS (
    SELECT 1 FROM ledger_txn AS resolved WHERE resolved.generation_id = hold.generation_id
      AND resolved.drive = hold.drive AND resolved.attempt_id = '' AND resolved.kind IN ('capture', 'void')
  ) LIMIT :most;

-- name: resolved_too_early
SELECT generation.id FROM generation JOIN ledger_txn ON generation_id = generation.id AND ledger_txn.drive = generation.drive
WHERE state IN ('queued', 'running') AND attempt_id = '' AND kind IN ('capture', 'void') LIMIT :most;

-- name: never_held
SELECT id FROM generation WHERE NOT EXISTS (
  SELECT 1 FROM ledger_txn WHERE generation_id = generation.id AND drive = generation.drive AND attempt_id = ''
    AND kind = 'hold'
) LIMIT :most;

-- name: told_otherwise
-- What a record says that its customer was charged and given back, where the ledger says something else.
SELECT * FROM (
  SELECT id, charged_micros, compensated_micros, coalesce((
    SELECT -sum(micros) FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id
    WHERE generation_id = generation.id AND attempt_id = '' AND kind = 'capture' AND account = 'revenue'
  ), 0) AS captured, coalesce((
    SELECT sum(micros) FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id
    WHERE generation_id = generation.id AND attempt_id = '' AND kind = 'compensate' AND account = 'compensation'
  ), 0) AS given FROM generation
) AS told WHERE charged_micros <> captured OR compensated_micros <> given OR given > captured LIMIT :most;

-- name: attempts_with_bookings
-- Every attempt, with what the provider's side of the ledger says of it.
SELECT attempt.id, attempt.generation_id, state, kind FROM attempt LEFT JOIN ledger_txn
  ON ledger_txn.generation_id = attempt.generation_id AND ledger_txn.drive = attempt.drive AND attempt_id = attempt.id
ORDER BY attempt.rowid;

-- name: attempts_with_bookings / postgres
-- Where no row has a number, their ids tell when they were made.
SELECT attempt.id, attempt.generation_id, state, kind FROM attempt LEFT JOIN ledger_txn
  ON ledger_txn.generation_id = attempt.generation_id AND ledger_txn.drive = attempt.drive AND attempt_id = attempt.id
ORDER BY attempt.id;

-- name: spent_otherwise
-- Days of keys and groups whose count is not what the ledger has on the accounts of those customers, by the day of the
-- hold. A drive before the present one was voided, and counts for nothing.
SELECT owner, day, currency, sum(counted) AS counted, sum(booked) AS booked FROM (
  SELECT owner, day, currency, micros AS counted, 0 AS booked FROM spend_day
  UNION ALL
  SELECT 'key:' || key_id, held_on, currency, 0, micros FROM generation JOIN ledger_txn ON generation_id = generation.id
    JOIN ledger_entry ON txn_id = ledger_txn.id AND account = 'customer:' || key_id
  UNION ALL
  SELECT 'group:' || group_id, held_on, currency, 0, micros FROM generation JOIN ledger_txn ON generation_id = generation.id
    JOIN ledger_entry ON txn_id = ledger_txn.id AND account = 'customer:' || key_id WHERE group_id IS NOT NULL
) AS days GROUP BY owner, day, currency HAVING sum(counted) <> sum(booked) LIMIT :most;

-- name: given_by_day
SELECT coalesce(sum(micros), 0) FROM compensation_day;

-- name: lines_of
SELECT ledger_txn.id, at, kind, drive, attempt_id, account, micros
FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id WHERE generation_id = :id
ORDER BY ledger_txn.id, ledger_entry.rowid;
