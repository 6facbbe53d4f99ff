-- name: insert_attempt
INSERT INTO attempt (id, generation_id, part, hedge, drive, number, epoch, upstream, provider, model, idempotency_key,
  state, sent_at, estimated_micros)
SELECT :id, :generation_id, :part, 0, :drive, 1 + coalesce(max(number), 0), :epoch, :upstream, :provider, :model,
  :idempotency_key, :state, :sent_at, :estimated_micros
FROM attempt WHERE generation_id = :generation_id;

-- name: get_attempt
SELECT * FROM attempt WHERE id = :id;

-- name: open_attempt_of_part
SELECT id FROM attempt WHERE generation_id = :generation_id AND part = :part AND hedge = 0
  AND state IN ('sent', 'polling');

-- name: attempts_of
SELECT * FROM attempt WHERE generation_id = :id ORDER BY number;

-- name: end_attempt
-- `unknown` may still become settled: an image that arrives is never thrown away.
UPDATE attempt SET state = :state, charge = :charge, received_at = :received_at, ended_at = :at, http_status = :http_status, failure = :failure,
  usage = :usage, answer = :answer
WHERE id = :id AND state IN ('sent', 'polling', 'unknown');

-- name: insert_blob
-- A draft of an attempt that was given up on may turn out to be its result.
INSERT INTO blob (id, generation_id, attempt_id, part, position, kind, store_key, sha256, bytes, mime, width_px,
  height_px, delete_after)
VALUES (:id, :generation_id, :attempt_id, :part, :position, :kind, :store_key, :sha256, :bytes, :mime, :width_px,
  :height_px, :delete_after)
ON CONFLICT (attempt_id, position) DO UPDATE SET kind = excluded.kind, delete_after = excluded.delete_after;

-- name: blobs_of
SELECT * FROM blob WHERE generation_id = :id ORDER BY part, position;

-- name: delivered_images
SELECT part, count(*) AS images FROM blob WHERE generation_id = :id AND kind = 'result' GROUP BY part;
