-- name: insert_attempt
INSERT INTO attempt (id, generation_id, part, hedge, drive, number, epoch, upstream, provider, model, idempotency_key,
  state, sent_at, estimated_micros, key_number, route, tier, list_micros, unit_micros)
SELECT :id, :generation_id, :part, :hedge, :drive, 1 + coalesce(max(number), 0), :epoch, :upstream, :provider, :model,
  :idempotency_key, :state, :sent_at, :estimated_micros, :key_number, :route, :tier, :list_micros, :unit_micros
FROM attempt WHERE generation_id = :generation_id;

-- name: get_attempt
SELECT * FROM attempt WHERE id = :id;

-- name: before_sending
-- Where the generation stands, how many attempts of this part are in flight, and whether all parts that are still open
-- are: then this one was given up. What was outrun is of a part that has ended.
SELECT state, drive, epoch, owner, sequence_number, cancel_requested, (
  SELECT count(*) FROM attempt WHERE generation_id = :generation_id AND part = :part AND state IN ('sent', 'polling')
) AS in_flight, EXISTS (
  SELECT 1 FROM attempt WHERE generation_id = :generation_id AND part = :part AND state IN ('sent', 'polling')
    AND outrun = 1
) AS outrun, parts_open > (
  SELECT count(DISTINCT part) FROM attempt WHERE generation_id = :generation_id AND outrun = 0
    AND state IN ('sent', 'polling')
) AS is_open FROM generation WHERE id = :generation_id;

-- name: before_settling
-- The generation as it stands, with what must be known of its attempt. Its part is in a pause where the latest attempt
-- of it, or one of the latest two, says when it goes on, and not all that is open is in flight: else it was given up.
SELECT generation.*, attempt.part AS attempt_part, attempt.state AS attempt_state, attempt.drive AS attempt_drive,
  attempt.upstream AS attempt_upstream, attempt.estimated_micros AS attempt_micros, attempt.outrun AS attempt_outrun,
  EXISTS (
    SELECT 1 FROM attempt AS beside WHERE beside.generation_id = attempt.generation_id AND beside.part = attempt.part
      AND beside.id <> attempt.id AND beside.state IN ('sent', 'polling') AND beside.outrun = 0
  ) AS is_accompanied, EXISTS (
    SELECT 1 FROM blob WHERE blob.generation_id = attempt.generation_id AND blob.part = attempt.part
      AND blob.attempt_id <> attempt.id AND blob.kind = 'result'
  ) AS has_image, EXISTS (
    SELECT 1 FROM attempt AS paused WHERE paused.generation_id = attempt.generation_id AND paused.part = attempt.part
      AND paused.drive = attempt.drive AND paused.retry_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM attempt AS later WHERE later.generation_id = paused.generation_id AND later.part = paused.part
          AND later.number > paused.number AND later.hedge = 0
      )
  ) AND generation.parts_open > (
    SELECT count(DISTINCT part) FROM attempt AS flying WHERE flying.generation_id = generation.id AND flying.outrun = 0
      AND flying.state IN ('sent', 'polling')
  ) AS is_paused
FROM attempt JOIN generation ON generation.id = attempt.generation_id WHERE attempt.id = :id;

-- name: end_pause
UPDATE attempt SET retry_at = NULL WHERE id = :id;

-- name: attempts_of
SELECT * FROM attempt WHERE generation_id = :id ORDER BY number;

-- name: end_attempt
-- `unknown` may still become settled: an image that arrives is never thrown away.
UPDATE attempt SET state = :state, charge = :charge, received_at = :received_at, ended_at = :ended_at,
  http_status = :http_status, failure = :failure, usage = :usage, answer = :answer,
  retry_at = :retry_at, decision = :decision
WHERE id = :id AND state IN ('sent', 'polling', 'unknown');

-- name: outrun
-- Its part has its image: those that are still in flight bring extras.
UPDATE attempt SET outrun = 1
WHERE generation_id = :generation_id AND part = :part AND id <> :id AND state IN ('sent', 'polling');

-- name: keep_handle
-- The upstream has taken it: whoever has the handle goes on with it. Written again, it changes nothing.
UPDATE attempt SET upstream_handle = :handle, state = :state WHERE id = :id AND state = 'sent';

-- name: insert_blob
-- A draft of an attempt that was given up on may turn out to be its result.
INSERT INTO blob (id, generation_id, attempt_id, part, position, kind, store_key, sha256, bytes, mime, width_px,
  height_px, delete_after)
VALUES (:id, :generation_id, :attempt_id, :part, :position, :kind, :store_key, :sha256, :bytes, :mime, :width_px,
  :height_px, :delete_after)
ON CONFLICT (attempt_id, position) DO UPDATE SET kind = excluded.kind, delete_after = excluded.delete_after,
  state = 'stored';

-- name: blobs_of
SELECT * FROM blob WHERE generation_id = :id ORDER BY part, position;
