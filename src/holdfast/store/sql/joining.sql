-- name: by_idempotency_key
SELECT * FROM generation WHERE key_id = :key_id AND idempotency_key = :idempotency_key;

-- name: orphan
-- Nobody waits for it and nobody has its answer; whose callers another process had, has none. An attempt in flight is
-- worth joining whatever its caller was told: its image may still come. The oldest first, one for each repeat.
SELECT * FROM generation
WHERE key_id = :key_id AND fingerprint = :fingerprint AND created_at >= :oldest
  AND fingerprint_version = :version AND idempotency_key IS NULL AND deleted_at IS NULL
  AND (callers = 0 OR watched_by <> :owner)
  AND ((answered_at IS NULL AND (state IN ('queued', 'running') OR (state = 'succeeded' AND late = 1)
        OR (state = 'succeeded' AND finished_at >= :success_since)
        OR (state = 'failed' AND finished_at >= :failure_since)))
    OR (state = 'failed' AND finished_at >= :success_since AND EXISTS (
        SELECT 1 FROM attempt WHERE generation_id = generation.id AND attempt.state IN ('sent', 'polling'))))
ORDER BY created_at, id LIMIT 1;

-- name: orphan / postgres
-- Other processes may live beside this one: only the callers of those that are dead are gone.
SELECT * FROM generation
WHERE key_id = :key_id AND fingerprint = :fingerprint AND created_at >= :oldest
  AND fingerprint_version = :version AND idempotency_key IS NULL AND deleted_at IS NULL
  AND (callers = 0 OR (watched_by <> :owner AND NOT EXISTS (
    SELECT 1 FROM replica WHERE replica.owner = generation.watched_by
      AND replica.seen_us >= CAST((extract(epoch FROM clock_timestamp()) - 15) * 1000000 AS BIGINT))))
  AND ((answered_at IS NULL AND (state IN ('queued', 'running') OR (state = 'succeeded' AND late <> 0)
        OR (state = 'succeeded' AND finished_at >= :success_since)
        OR (state = 'failed' AND finished_at >= :failure_since)))
    OR (state = 'failed' AND finished_at >= :success_since AND EXISTS (
        SELECT 1 FROM attempt WHERE generation_id = generation.id AND attempt.state IN ('sent', 'polling'))))
ORDER BY created_at, id LIMIT 1;

-- name: kin
-- For a repeat that says it is one: also what looks received, or looks as if its caller were there. Least joined and
-- newest first: an SDK repeats its latest call.
SELECT * FROM generation
WHERE key_id = :key_id AND fingerprint = :fingerprint AND created_at >= :oldest
  AND fingerprint_version = :version AND idempotency_key IS NULL AND deleted_at IS NULL
  AND (state IN ('queued', 'running') OR (state = 'succeeded' AND (late = 1 OR finished_at >= :success_since))
    OR (state = 'failed' AND finished_at >= :failure_since))
ORDER BY joins, created_at DESC, id DESC LIMIT 1;

-- name: accepted_since
SELECT created_at FROM generation WHERE key_id = :key_id AND created_at > :since ORDER BY created_at DESC LIMIT :most;

-- name: open_of_key
SELECT count(*) FROM generation
WHERE key_id = :key_id AND created_at >= :oldest AND state IN ('queued', 'running');

-- name: twins
-- Those who seem to wait for the same, and have for a while.
SELECT id FROM generation
WHERE key_id = :key_id AND fingerprint = :fingerprint AND created_at >= :oldest AND created_at <= :twin_before
  AND fingerprint_version = :version AND idempotency_key IS NULL AND deleted_at IS NULL
  AND callers > 0 AND watched_by = :owner AND answered_at IS NULL
ORDER BY created_at, id LIMIT 32;

-- name: twins / postgres
-- At other processes that live too: whoever has them is asked.
SELECT id FROM generation
WHERE key_id = :key_id AND fingerprint = :fingerprint AND created_at >= :oldest AND created_at <= :twin_before
  AND fingerprint_version = :version AND idempotency_key IS NULL AND deleted_at IS NULL
  AND callers > 0 AND answered_at IS NULL AND (watched_by = :owner OR EXISTS (
    SELECT 1 FROM replica WHERE replica.owner = generation.watched_by
      AND replica.seen_us >= CAST((extract(epoch FROM clock_timestamp()) - 15) * 1000000 AS BIGINT)))
ORDER BY created_at, id LIMIT 32;

-- name: charges
-- Without what the upstreams said, which may be megabytes.
SELECT state, charge FROM attempt WHERE generation_id = :id AND drive = :drive;

-- name: deleted_images
SELECT count(*) FROM blob WHERE generation_id = :id AND state <> 'stored';

-- name: join
UPDATE generation SET callers = CASE WHEN watched_by = :owner THEN callers + 1 ELSE 1 END, watched_by = :owner,
  joins = joins + 1, only_awaited = CASE WHEN only_awaited < :only_awaited THEN only_awaited ELSE :only_awaited END
WHERE id = :id;

-- name: come_back
UPDATE generation SET callers = CASE WHEN watched_by = :owner THEN callers + 1 ELSE 1 END, watched_by = :owner
WHERE id = :id;

-- name: leave
UPDATE generation SET callers = callers - 1 WHERE id = :id AND watched_by = :owner AND callers > 0;

-- name: drive_again
-- Nobody's: whoever worked on it before need not be who goes on.
UPDATE generation SET owner = NULL, state = :state, drive = :drive, parts_open = parts, deadline_at = :deadline_at,
  hard_deadline = :hard_deadline, started_at = NULL, finished_at = NULL, answered_at = NULL, purge_after = NULL,
  cancel_requested = 0, failure = NULL, sequence_number = :sequence_number, held_on = :held_on, group_id = :group_id
WHERE id = :id AND state = 'failed' AND drive + 1 = :drive;
