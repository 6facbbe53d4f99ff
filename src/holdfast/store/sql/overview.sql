-- name: ends_between
-- Along generation_by_end alone, hour by hour: grouping by a part of the time would sort all of it again.
SELECT
  count(*) AS ends,
  count(*) FILTER (WHERE state = 'succeeded') AS succeeded, count(*) FILTER (WHERE state = 'failed') AS failed,
  count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
  coalesce(sum(charged_micros), 0) AS charged_micros, coalesce(sum(compensated_micros), 0) AS compensated_micros
FROM generation WHERE finished_at >= :since AND finished_at < :until;

-- name: told_kinds
-- Along generation_failed alone.
SELECT coalesce(json_extract(failure, '$.kind'), 'unknown') AS kind, count(*) AS count
FROM generation WHERE state = 'failed' AND finished_at >= :since
GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: told_failures
-- What callers were told, along generation_failed alone.
SELECT
  substr(finished_at, 1, :width) AS at, coalesce(json_extract(failure, '$.kind'), 'unknown') AS kind, count(*) AS count
FROM generation WHERE state = 'failed' AND finished_at >= :since AND finished_at < :until
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: met_failures
-- What upstreams did.
SELECT
  substr(ended_at, 1, :width) AS at, upstream, coalesce(json_extract(failure, '$.kind'), 'unknown') AS kind,
  count(*) AS count
FROM attempt WHERE failure IS NOT NULL AND ended_at >= :since AND ended_at < :until
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: count_uncollected
SELECT count(*) FROM (
  SELECT 1 FROM generation
  WHERE state = 'succeeded' AND collected_at IS NULL AND purged_at IS NULL LIMIT :most
) AS uncollected;

-- name: open_ids
-- Without the id in the order, which would lead along another index, through all there are.
SELECT id FROM generation WHERE state IN ('queued', 'running') ORDER BY created_at DESC LIMIT :most;

-- name: ended_ids
SELECT id FROM generation WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :most;

-- name: place_of
SELECT created_at FROM generation WHERE id = :id;

-- name: list_all
-- Newest first. What a filter leaves out is passed over, up to a bound.
SELECT id FROM (
  SELECT id, created_at, state, model, collected_at FROM generation
  WHERE (created_at, id) < (:before_at, :before_id) AND created_at >= :since
  ORDER BY created_at DESC, id DESC LIMIT :looked_at_max
) AS looked_at
WHERE (CAST(:state AS TEXT) IS NULL OR state = :state) AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (CAST(:is_collected AS BOOLEAN) IS NULL OR (collected_at IS NOT NULL) = :is_collected)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: last_of_all
-- The last row of such a stretch; none where there are fewer.
SELECT id FROM generation
WHERE (created_at, id) < (:before_at, :before_id) AND created_at >= :since
ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :looked_at_max - 1;

-- name: list_of_key
SELECT id FROM (
  SELECT id, created_at, state, model, collected_at FROM generation
  WHERE key_id = :key_id AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since
  ORDER BY created_at DESC, id DESC LIMIT :looked_at_max
) AS looked_at
WHERE (CAST(:state AS TEXT) IS NULL OR state = :state) AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (CAST(:is_collected AS BOOLEAN) IS NULL OR (collected_at IS NOT NULL) = :is_collected)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: last_of_key
SELECT id FROM generation
WHERE key_id = :key_id AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since
ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :looked_at_max - 1;

-- name: list_uncollected
-- Images that are there and that nobody has collected: few among many, so along an index of their own.
SELECT id FROM (
  SELECT id, created_at, key_id, model FROM generation
  WHERE state = 'succeeded' AND collected_at IS NULL AND purged_at IS NULL
    AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since
  ORDER BY created_at DESC, id DESC LIMIT :looked_at_max
) AS looked_at
WHERE (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id) AND (CAST(:model AS TEXT) IS NULL OR model = :model)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: last_of_uncollected
SELECT id FROM generation
WHERE state = 'succeeded' AND collected_at IS NULL AND purged_at IS NULL
  AND (created_at, id) < (:before_at, :before_id) AND created_at >= :since
ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :looked_at_max - 1;

-- name: label_of
SELECT label FROM api_key WHERE id = :id;

-- name: joins_of
SELECT joins, purged_at FROM generation WHERE id = :id;

-- name: collected_of
SELECT id, collected_at FROM blob WHERE generation_id = :id;

-- name: balance_of
SELECT balance FROM account WHERE id = :id;

-- name: exposed_since
SELECT day, model, micros FROM exposure_day WHERE day >= :day ORDER BY day DESC, model LIMIT 1000;

-- name: unknown_attempts
SELECT id, generation_id, number, upstream, model, sent_at, estimated_micros, failure FROM attempt
WHERE charge = 'unknown' AND state NOT IN ('sent', 'polling') AND NOT EXISTS (
  SELECT 1 FROM ledger_txn AS txn
  WHERE txn.generation_id = attempt.generation_id AND txn.drive = attempt.drive AND txn.attempt_id = attempt.id
    AND txn.kind = 'resolve'
)
ORDER BY sent_at DESC LIMIT :most;
