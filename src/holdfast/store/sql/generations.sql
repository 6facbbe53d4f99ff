-- name: insert_generation
INSERT INTO generation (id, key_id, surface, model, tier, size, n, request, state, parts, parts_open, deadline_at,
  hard_deadline, created_at, traceparent, currency, unit_micros, held_micros, sequence_number, fingerprint,
  fingerprint_version, idempotency_key, callers, watched_by,
  list_micros, metadata, only_awaited, held_on, group_id)
VALUES (:id, :key_id, :surface, :model, :tier, :size, :n, :request, :state, :parts, :parts, :deadline_at,
  :hard_deadline, :created_at, :traceparent, :currency, :unit_micros, :held_micros, :sequence_number, :fingerprint,
  :fingerprint_version, :idempotency_key, :callers, :watched_by, :list_micros,
  :metadata, :only_awaited, :held_on, :group_id);

-- name: get_generation
SELECT * FROM generation WHERE id = :id;

-- name: open_generations
-- Oldest first: who waited longest is taken up first.
SELECT id FROM generation WHERE state IN ('queued', 'running') ORDER BY created_at, id;

-- name: ended_with_attempts_in_flight
-- Told at their deadline while an attempt was in flight, which then lost its process.
SELECT id FROM generation WHERE state NOT IN ('queued', 'running')
  AND id IN (SELECT generation_id FROM attempt WHERE state IN ('sent', 'polling')) ORDER BY created_at, id;

-- name: claim_generation
-- Whoever claims bumps the epoch: an older owner's claim can no longer succeed. What somebody else works on was taken
-- over by him.
UPDATE generation SET epoch = :epoch, owner = :owner, state = :state, started_at = coalesce(started_at, :at),
  sequence_number = :sequence_number
WHERE id = :id AND state IN ('queued', 'running') AND cancel_requested = 0 AND epoch + 1 = :epoch
  AND (owner IS NULL OR owner = :owner);

-- name: bump_open_epochs
UPDATE generation SET epoch = epoch + 1, owner = :owner WHERE state IN ('queued', 'running');

-- name: bump_epoch
-- Taken over from a worker that was lost: if it only slept, it can no longer send.
UPDATE generation SET epoch = epoch + 1, owner = :owner WHERE id = :id AND state IN ('queued', 'running');

-- name: is_owned
SELECT 1 FROM generation WHERE id = :id AND owner = :owner;

-- name: end_part
UPDATE generation SET parts_open = :parts_open, sequence_number = :sequence_number WHERE id = :id;

-- name: stop_parts
-- Parts that are not sent any more, while others are in flight.
UPDATE generation SET parts_open = :parts_open WHERE id = :id AND state = 'running';

-- name: finish_generation
-- Refused if anything was written between the reading of the row and its end.
UPDATE generation SET state = :state, finished_at = :finished_at, purge_after = coalesce(deleted_at, :purge_after),
  charged_micros = :charged_micros, partial_result = :partial_result, failure = :failure, parts_open = :parts_open,
  sequence_number = :sequence_number, compensated_micros = :compensated_micros, served_by = :served_by
WHERE id = :id AND state IN ('queued', 'running') AND sequence_number + 1 = :sequence_number;

-- name: mark_late
-- Whatever its caller was told, nobody has the image: a repeat may join it.
UPDATE generation SET state = :state, late = 1, answered_at = NULL, partial_result = :partial_result, failure = NULL,
  purge_after = coalesce(deleted_at, :purge_after), purged_at = NULL, served_by = :served_by
WHERE id = :id;

-- name: mark_answered
UPDATE generation SET answered_at = coalesce(answered_at, :at) WHERE id = :id;

-- name: mark_collected
UPDATE generation SET collected_at = coalesce(collected_at, :at), answered_at = coalesce(answered_at, :at)
WHERE id = :id;

-- name: next_sequence
-- For an event that no other change of the row goes with; all others bring their number along.
UPDATE generation SET sequence_number = sequence_number + 1 WHERE id = :id RETURNING sequence_number;

-- name: insert_event
INSERT INTO event (generation_id, sequence_number, at, type, data) VALUES (:id, :sequence_number, :at, :type, :data);

-- name: events_of
SELECT * FROM event WHERE generation_id = :id ORDER BY sequence_number;
