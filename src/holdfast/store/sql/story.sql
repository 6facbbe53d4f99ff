-- name: joins_of
SELECT joins, callers FROM generation WHERE id = :id;

-- name: attempts_of
-- Every column: what a later version writes beside what is known here is told as it stands.
SELECT * FROM attempt WHERE generation_id = :id ORDER BY number;

-- name: deliveries_of
-- No index leads here: whoever asks is a person, once.
SELECT * FROM webhook_delivery WHERE generation_id = :id ORDER BY created_at, id;
