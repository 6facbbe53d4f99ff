-- name: mark
-- What has ended is due at once. What is still to end is due as soon as it does: `finish_generation` looks at this.
UPDATE generation SET deleted_at = :at, purge_after = CASE WHEN finished_at IS NULL THEN purge_after ELSE :at END
WHERE id = :id AND deleted_at IS NULL;

-- name: forget_request
-- Only where nothing is in flight: an answer that is still to come is read with what was asked.
UPDATE generation SET request = NULL WHERE id = :id;

-- name: has_open_attempt
SELECT 1 FROM attempt WHERE generation_id = :id AND state IN ('sent', 'polling') LIMIT 1;
