-- name: files
SELECT (SELECT count(*) FROM blob WHERE state = 'stored') + (SELECT count(DISTINCT store_key) FROM input_ref);

-- name: images
-- In the order in which they were stored, which is that of their folders.
SELECT store_key, bytes, sha256 FROM blob WHERE state = 'stored' ORDER BY rowid;

-- name: inputs
SELECT DISTINCT store_key FROM input_ref ORDER BY store_key;

-- name: is_wanted
SELECT EXISTS (SELECT 1 FROM blob WHERE store_key = :key AND state = 'stored')
  OR EXISTS (SELECT 1 FROM input_ref WHERE store_key = :key);

-- name: images_after
SELECT rowid, store_key, generation_id FROM blob WHERE state <> 'deleted' AND rowid > :after ORDER BY rowid LIMIT :count;

-- name: lose_image
UPDATE blob SET state = 'deleted' WHERE store_key = :key;

-- name: is_uncollected
SELECT EXISTS (SELECT 1 FROM generation WHERE id = :id AND state = 'succeeded' AND collected_at IS NULL);

-- name: let_go
-- Nothing of it is left to collect.
UPDATE generation SET purge_after = :now WHERE id = :id AND purged_at IS NULL AND state NOT IN ('queued', 'running')
  AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.generation_id = generation.id AND blob.state = 'stored');

-- name: forget_request
-- What it was asked with is not here: it cannot be driven again.
UPDATE generation SET request = NULL
WHERE state = 'failed' AND id IN (SELECT generation_id FROM input_ref WHERE store_key = :key);

-- name: lose_input
DELETE FROM input_ref WHERE store_key = :key;

-- name: end_sessions
DELETE FROM session;
