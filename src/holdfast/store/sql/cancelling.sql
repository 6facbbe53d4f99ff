-- name: stop_buying
-- From here on no claim of this generation succeeds.
UPDATE generation SET cancel_requested = :cancel_requested, parts_open = :parts_open,
  sequence_number = :sequence_number
WHERE id = :id AND state = 'running';

-- name: callers_of
SELECT CASE WHEN watched_by = :owner THEN callers ELSE 0 END FROM generation WHERE id = :id;

-- name: callers_of / postgres
-- Of another process that lives they count too.
SELECT CASE WHEN watched_by = :owner OR EXISTS (
  SELECT 1 FROM replica WHERE replica.owner = generation.watched_by
    AND replica.seen_us >= CAST((extract(epoch FROM clock_timestamp()) - 15) * 1000000 AS BIGINT)
) THEN callers ELSE 0 END FROM generation WHERE id = :id;

-- name: is_unwanted
SELECT EXISTS (SELECT 1 FROM generation WHERE id = :id AND cancel_requested = 1)
  OR EXISTS (SELECT 1 FROM attempt WHERE id = :attempt_id AND outrun = 1);
