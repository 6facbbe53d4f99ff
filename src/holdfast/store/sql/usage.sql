-- name: count
INSERT INTO usage_day (day, key_id, model, tier, upstream, outcome, currency, generations, images, charged_micros,
  compensated_micros, cost_micros, extra_micros, unknown_micros)
VALUES (:day, :key_id, :model, :tier, :upstream, :outcome, :currency, :generations, :images, :charged_micros,
  :compensated_micros, :cost_micros, :extra_micros, :unknown_micros)
ON CONFLICT (day, key_id, model, tier, upstream, outcome, currency) DO UPDATE SET
  generations = usage_day.generations + excluded.generations, images = usage_day.images + excluded.images,
  charged_micros = usage_day.charged_micros + excluded.charged_micros,
  compensated_micros = usage_day.compensated_micros + excluded.compensated_micros,
  cost_micros = usage_day.cost_micros + excluded.cost_micros,
  extra_micros = usage_day.extra_micros + excluded.extra_micros,
  unknown_micros = usage_day.unknown_micros + excluded.unknown_micros;

-- name: booked
-- What has been booked of a generation so far, by day and upstream; without an upstream: its customer's side.
SELECT substr(ledger_txn.at, 1, 10) AS day, attempt.upstream, account, sum(micros) AS micros
FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id LEFT JOIN attempt ON attempt.id = ledger_txn.attempt_id
WHERE ledger_txn.generation_id = :id
  AND account IN ('revenue', 'compensation', 'provider_cost', 'extra_images', 'unknown_exposure')
GROUP BY day, attempt.upstream, account;

-- name: report
-- A dimension that is not asked for is one group.
SELECT day, key_id, label, model, tier, upstream, outcome, usage.currency, generations, images, charged_micros,
  compensated_micros, cost_micros, extra_micros, unknown_micros
FROM (
  SELECT CASE WHEN :by_day THEN day END AS day, CASE WHEN :by_key THEN key_id END AS key_id,
    CASE WHEN :by_model THEN model END AS model, CASE WHEN :by_size THEN tier END AS tier,
    CASE WHEN :by_upstream THEN upstream END AS upstream, CASE WHEN :by_outcome THEN outcome END AS outcome, currency,
    sum(generations) AS generations, sum(images) AS images, sum(charged_micros) AS charged_micros,
    sum(compensated_micros) AS compensated_micros, sum(cost_micros) AS cost_micros, sum(extra_micros) AS extra_micros,
    sum(unknown_micros) AS unknown_micros
  FROM usage_day
  WHERE day >= :since AND day <= :until AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:model AS TEXT) IS NULL OR model = :model) AND (CAST(:tier AS TEXT) IS NULL OR tier = :tier)
    AND (CAST(:upstream AS TEXT) IS NULL OR upstream = :upstream)
    AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
  GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS usage LEFT JOIN api_key ON api_key.id = usage.key_id
ORDER BY day, key_id, model, tier, upstream, outcome, usage.currency LIMIT :most;

-- name: each
-- Broken down by everything each roll-up is a line of its own: nothing is grouped, and the key brings the order along.
SELECT day, key_id, model, tier, upstream, outcome, currency, generations, images, charged_micros, compensated_micros,
  cost_micros, extra_micros, unknown_micros
FROM usage_day
WHERE day >= :since AND day <= :until AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
  AND (CAST(:model AS TEXT) IS NULL OR model = :model) AND (CAST(:tier AS TEXT) IS NULL OR tier = :tier)
  AND (CAST(:upstream AS TEXT) IS NULL OR upstream = :upstream)
  AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
ORDER BY day, key_id, model, tier, upstream, outcome, currency LIMIT :most;

-- name: label
SELECT label FROM api_key WHERE id = :id;

-- name: rolled_up
-- What the roll-ups say altogether, for whoever checks them against the ledger.
SELECT coalesce(sum(generations), 0) AS generations, coalesce(sum(charged_micros), 0) AS charged_micros,
  coalesce(sum(compensated_micros), 0) AS compensated_micros, coalesce(sum(cost_micros), 0) AS cost_micros,
  coalesce(sum(extra_micros), 0) AS extra_micros, coalesce(sum(unknown_micros), 0) AS unknown_micros,
  (SELECT count(*) FROM generation WHERE state NOT IN ('queued', 'running')) AS ended
FROM usage_day;

-- name: charged_between
SELECT id, key_id, group_id, model, tier, state, late, CASE drive WHEN 0 THEN created_at ELSE (
    SELECT at FROM ledger_txn WHERE generation_id = generation.id AND drive = generation.drive AND attempt_id = ''
      AND kind = 'hold'
  ) END AS began_at, finished_at, charged_micros, compensated_micros
FROM generation
WHERE id >= :first_id AND finished_at >= :since AND finished_at < :until AND charged_micros > 0
ORDER BY finished_at, id;

-- name: attempts_between
-- What has ended of one upstream, with what the ledger says of it.
SELECT attempt.id, attempt.generation_id, attempt.charge, attempt.model, sent_at, ended_at, idempotency_key,
  upstream_handle, coalesce((
    SELECT -sum(micros) FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id
    WHERE ledger_txn.generation_id = attempt.generation_id AND ledger_txn.drive = attempt.drive
      AND ledger_txn.attempt_id = attempt.id AND account = :account
  ), 0) AS booked_micros
FROM attempt
WHERE id >= :first_id AND upstream = :upstream AND state NOT IN ('sent', 'polling') AND ended_at >= :since
  AND ended_at < :until
ORDER BY ended_at, attempt.id LIMIT :most;

-- name: upstreams_tried
SELECT DISTINCT upstream FROM usage_day WHERE upstream <> '' ORDER BY upstream;

-- name: was_tried
-- Also in vain, which stands under whoever brought the image: asked only of a name that the days do not know.
SELECT 1 FROM attempt WHERE upstream = :upstream LIMIT 1;

-- name: before_resolving
SELECT generation.*, attempt.state AS attempt_state, attempt.drive AS attempt_drive, attempt.part AS attempt_part,
  attempt.upstream AS attempt_upstream, attempt.estimated_micros AS attempt_micros, attempt.ended_at AS attempt_ended_at
FROM attempt JOIN generation ON generation.id = attempt.generation_id WHERE attempt.id = :id;

-- name: resolve_attempt
UPDATE attempt SET state = :state, charge = :charge WHERE id = :id AND state = 'unknown';
