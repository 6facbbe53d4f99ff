-- name: insert_endpoint
-- Counted in the same statement: two that come at once do not pass the limit together.
INSERT INTO webhook_endpoint (id, key_id, url, secret_number, created_at)
SELECT :id, :key_id, :url, 1, :created_at WHERE :most > (
  SELECT count(*) FROM webhook_endpoint WHERE key_id = :key_id AND url IS NOT NULL AND deleted_at IS NULL
);

-- name: insert_default
INSERT INTO webhook_endpoint (id, key_id, url, secret_number, created_at)
SELECT :id, :key_id, NULL, 1, :created_at WHERE NOT EXISTS (
  SELECT 1 FROM webhook_endpoint WHERE key_id = :key_id AND url IS NULL AND deleted_at IS NULL
);

-- name: endpoints_of
SELECT id, key_id, url, secret_number, previous_until, created_at, disabled_at, reason FROM webhook_endpoint
WHERE key_id = :key_id AND url IS NOT NULL AND deleted_at IS NULL ORDER BY id;

-- name: get_endpoint
SELECT id, key_id, url, secret_number, previous_until, created_at, disabled_at, reason FROM webhook_endpoint
WHERE id = :id AND key_id = :key_id AND deleted_at IS NULL;

-- name: get_default
SELECT id, key_id, url, secret_number, previous_until, created_at, disabled_at, reason FROM webhook_endpoint
WHERE key_id = :key_id AND url IS NULL AND deleted_at IS NULL;

-- name: rotate_endpoint
UPDATE webhook_endpoint SET secret_number = secret_number + 1, previous_until = :previous_until WHERE id = :id;

-- name: disable_endpoint
UPDATE webhook_endpoint SET disabled_at = :at, reason = :reason WHERE id = :id AND disabled_at IS NULL;

-- name: delete_endpoint
UPDATE webhook_endpoint SET disabled_at = coalesce(disabled_at, :at), deleted_at = :at
WHERE id = :id AND key_id = :key_id AND deleted_at IS NULL;

-- name: has_endpoints
SELECT EXISTS (SELECT 1 FROM webhook_endpoint);

-- name: insert_inline
INSERT INTO webhook_inline (generation_id, url) VALUES (:generation_id, :url);

-- name: told_of
-- Who is told of the end of a generation: the key's endpoints, and what the request itself named.
SELECT id AS endpoint_id, NULL AS url FROM webhook_endpoint
WHERE key_id = :key_id AND deleted_at IS NULL AND disabled_at IS NULL AND url IS NOT NULL
UNION ALL
SELECT endpoint.id, inline.url FROM webhook_inline AS inline JOIN webhook_endpoint AS endpoint
  ON endpoint.key_id = :key_id AND endpoint.deleted_at IS NULL AND endpoint.url IS NULL
WHERE inline.generation_id = :generation_id;

-- name: insert_delivery
-- One for each end: a commit that is made twice, since its answer was lost, tells it once.
INSERT INTO webhook_delivery (id, endpoint_id, key_id, url, generation_id, drive, type, state, next_at, created_at)
VALUES (:id, :endpoint_id, :key_id, :url, :generation_id, :drive, :type, 'pending', :at, :at)
ON CONFLICT (endpoint_id, generation_id, drive, type) DO NOTHING;

-- name: due
-- Longest due first; endpoints and keys that are busy enough wait, so that one that hangs does not stop the others.
-- Endpoint by endpoint, each found by a step in the index, and of each its longest due: what waits for one that hangs is
-- never walked through, however much it is.
WITH RECURSIVE waiting (endpoint_id) AS (
  SELECT min(endpoint_id) FROM webhook_delivery WHERE state = 'pending'
  UNION ALL
  SELECT (SELECT min(endpoint_id) FROM webhook_delivery WHERE state = 'pending' AND endpoint_id > waiting.endpoint_id)
  FROM waiting WHERE waiting.endpoint_id IS NOT NULL
)
SELECT delivery.id, delivery.endpoint_id, delivery.key_id, coalesce(delivery.url, endpoint.url) AS url,
  delivery.generation_id, delivery.drive, delivery.type, delivery.tries, delivery.created_at,
  endpoint.secret_number, endpoint.previous_until
FROM waiting CROSS JOIN webhook_endpoint AS endpoint ON endpoint.id = waiting.endpoint_id
CROSS JOIN webhook_delivery AS delivery ON delivery.id IN (
  SELECT id FROM webhook_delivery
  WHERE endpoint_id = endpoint.id AND state = 'pending' AND next_at <= :now
    AND id NOT IN (SELECT value FROM json_each(:taken))
  ORDER BY next_at LIMIT :most
)
WHERE endpoint.id NOT IN (SELECT value FROM json_each(:busy))
  AND endpoint.key_id NOT IN (SELECT value FROM json_each(:busy_keys))
ORDER BY delivery.next_at LIMIT :most;

-- name: due / postgres
-- The same steps; here a join may look at what stands beside it, and lists are taken apart by another name.
WITH RECURSIVE waiting (endpoint_id) AS (
  SELECT min(endpoint_id) FROM webhook_delivery WHERE state = 'pending'
  UNION ALL
  SELECT (SELECT min(endpoint_id) FROM webhook_delivery WHERE state = 'pending' AND endpoint_id > waiting.endpoint_id)
  FROM waiting WHERE waiting.endpoint_id IS NOT NULL
)
SELECT delivery.id, delivery.endpoint_id, delivery.key_id, coalesce(delivery.url, endpoint.url) AS url,
  delivery.generation_id, delivery.drive, delivery.type, delivery.tries, delivery.created_at,
  endpoint.secret_number, endpoint.previous_until
FROM waiting JOIN webhook_endpoint AS endpoint ON endpoint.id = waiting.endpoint_id
CROSS JOIN LATERAL (
  SELECT * FROM webhook_delivery
  WHERE endpoint_id = endpoint.id AND state = 'pending' AND next_at <= :now
    AND id NOT IN (SELECT jsonb_array_elements_text(:taken))
  ORDER BY next_at LIMIT :most
) AS delivery
WHERE endpoint.id NOT IN (SELECT jsonb_array_elements_text(:busy))
  AND endpoint.key_id NOT IN (SELECT jsonb_array_elements_text(:busy_keys))
ORDER BY delivery.next_at LIMIT :most;

-- name: next_due
SELECT min(next_at) FROM webhook_delivery WHERE state = 'pending' AND next_at > :now;

-- name: get_delivery
SELECT id, endpoint_id, key_id, url, generation_id, drive, type, state, tries, next_at, last_status, last_error,
  created_at, ended_at, log
FROM webhook_delivery WHERE id = :id;

-- name: deliveries_of
-- Newest first.
SELECT id, endpoint_id, key_id, url, generation_id, drive, type, state, tries, next_at, last_status, last_error,
  created_at, ended_at, log
FROM webhook_delivery WHERE endpoint_id = :endpoint_id AND id < :before ORDER BY id DESC LIMIT :most;

-- name: end_try
UPDATE webhook_delivery SET state = :state, tries = :tries, next_at = :next_at, last_status = :status,
  last_error = :error, ended_at = :ended_at, log = :log
WHERE id = :id AND state = 'pending';

-- name: kill_deliveries
UPDATE webhook_delivery SET state = 'dead', next_at = NULL, ended_at = :at, last_error = :reason
WHERE endpoint_id = :endpoint_id AND state = 'pending';

-- name: redeliver
-- The schedule begins anew; one that is pending is brought forward.
UPDATE webhook_delivery SET tries = CASE state WHEN 'pending' THEN tries ELSE 0 END, state = 'pending', next_at = :at,
  ended_at = NULL
WHERE id = :id;

-- name: sweep_ended
DELETE FROM webhook_delivery WHERE id IN (
  SELECT id FROM webhook_delivery WHERE state <> 'pending' AND ended_at < :before LIMIT :most
);

-- name: sweep_deliveries
DELETE FROM webhook_delivery WHERE id IN (
  SELECT delivery.id FROM webhook_endpoint AS endpoint JOIN webhook_delivery AS delivery
    ON delivery.endpoint_id = endpoint.id
  WHERE endpoint.deleted_at IS NOT NULL LIMIT :most
);

-- name: sweep_endpoints
DELETE FROM webhook_endpoint WHERE deleted_at IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM webhook_delivery WHERE endpoint_id = webhook_endpoint.id
);

-- name: sweep_inline
-- Ids begin with their time of making.
DELETE FROM webhook_inline WHERE generation_id IN (
  SELECT generation_id FROM webhook_inline WHERE generation_id < :before LIMIT :most
);
