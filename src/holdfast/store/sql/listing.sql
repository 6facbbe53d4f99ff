-- name: list_of_key
-- Newest first, along the index generation_by_key. What a filter leaves out is passed over, up to a bound: who asks for
-- something rare looks at so many rows a page, however many the key has.
SELECT id FROM (
  SELECT id, created_at, state, model, collected_at FROM generation
  WHERE key_id = :key_id AND (created_at, id) < (:before_at, :before_id)
  ORDER BY created_at DESC, id DESC LIMIT :looked_at_max
) AS looked_at
WHERE (CAST(:state AS TEXT) IS NULL OR state = :state) AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (CAST(:is_collected AS BOOLEAN) IS NULL OR (collected_at IS NOT NULL) = :is_collected)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: last_looked_at
-- The last row of such a stretch; none where the key has fewer.
SELECT id FROM generation
WHERE key_id = :key_id AND (created_at, id) < (:before_at, :before_id)
ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :looked_at_max - 1;

-- name: list_of_idempotency_key
SELECT id FROM generation
WHERE key_id = :key_id AND idempotency_key = :idempotency_key AND (created_at, id) < (:before_at, :before_id)
  AND (CAST(:state AS TEXT) IS NULL OR state = :state) AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (CAST(:is_collected AS BOOLEAN) IS NULL OR (collected_at IS NOT NULL) = :is_collected)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: place_of
SELECT created_at FROM generation WHERE id = :id AND key_id = :key_id;
