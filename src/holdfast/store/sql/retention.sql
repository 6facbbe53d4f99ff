-- name: insert_input_ref
INSERT INTO input_ref (generation_id, store_key) VALUES (:generation_id, :store_key);

-- name: collect_results
UPDATE blob SET collected_at = :at WHERE generation_id = :id AND kind = 'result' AND collected_at IS NULL;

-- name: collect_image
UPDATE blob SET collected_at = :at WHERE id = :image_id AND generation_id = :id AND collected_at IS NULL;

-- name: kept_since
-- When it ended, and when its last image came: one that was late is kept as long as any other.
SELECT finished_at, purge_after, purged_at, (
  SELECT max(attempt.ended_at) FROM blob JOIN attempt ON attempt.id = blob.attempt_id
  WHERE blob.generation_id = generation.id
) AS last_image_at FROM generation WHERE id = :id;

-- name: collected_of
SELECT kind, collected_at FROM blob WHERE generation_id = :id;

-- name: move_purge
-- What its owner had deleted goes at once, whatever was collected of it since.
UPDATE generation SET purge_after = :purge_after WHERE id = :id AND deleted_at IS NULL;

-- name: move_deletion
UPDATE blob SET delete_after = :purge_after WHERE generation_id = :id AND state = 'stored';

-- name: prolong
-- An image came after the end: the generation is kept as if it had ended now, and swept again if it had been.
UPDATE generation SET purged_at = NULL,
  purge_after = CASE WHEN deleted_at IS NOT NULL THEN deleted_at
    WHEN purge_after > :purge_after THEN purge_after ELSE :purge_after END
WHERE id = :id;

-- name: due
-- Not while an attempt is in flight: its image is on its way, and so is another end of retention.
SELECT id, purge_after FROM generation
WHERE purged_at IS NULL AND purge_after <= :now AND (purge_after, id) > (:purge_after, :id)
  AND state NOT IN ('queued', 'running')
  AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.generation_id = generation.id AND attempt.state IN ('sent', 'polling'))
ORDER BY purge_after, id LIMIT :count;

-- name: mark_deleting
UPDATE blob SET state = 'deleting' WHERE generation_id = :id AND state = 'stored';

-- name: files_of
SELECT store_key, bytes FROM blob WHERE generation_id = :id AND state <> 'deleted';

-- name: mark_deleted
UPDATE blob SET state = 'deleted' WHERE generation_id = :id AND state = 'deleting';

-- name: purge_generation
-- Unless an image has come since it was marked.
UPDATE generation SET purged_at = :now, request = NULL
WHERE id = :id AND purged_at IS NULL AND purge_after <= :now AND state NOT IN ('queued', 'running')
  AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.generation_id = generation.id AND blob.state = 'stored');

-- name: purge_answers
UPDATE attempt SET answer = NULL WHERE generation_id = :id AND answer IS NOT NULL;

-- name: inputs_of
SELECT store_key FROM input_ref WHERE generation_id = :id;

-- name: drop_input_refs
DELETE FROM input_ref WHERE generation_id = :id;

-- name: has_input_ref
SELECT 1 FROM input_ref WHERE store_key = :store_key LIMIT 1;

-- name: is_kept
SELECT 1 FROM blob WHERE store_key = :store_key AND state <> 'deleted';

-- name: attempt_state
SELECT state FROM attempt WHERE id = :id;
