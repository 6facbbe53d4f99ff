-- name: in_flight
-- Every attempt that is open, whoever makes it; those of a worker that died until somebody has taken them over.
SELECT count(*) FROM attempt
WHERE upstream = :upstream AND key_number = :key_number AND state IN ('sent', 'polling');

-- name: pace
SELECT coalesce(due_us, 0) AS due_us, coalesce(day, '') AS day, coalesce(sent, 0) AS sent,
  CAST(extract(epoch FROM now) * 1000000 AS BIGINT) AS now_us,
  to_char(now AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS today,
  CAST(extract(epoch FROM date_trunc('day', now AT TIME ZONE 'UTC') + interval '1 day' - now AT TIME ZONE 'UTC')
    AS BIGINT) AS day_left_s
FROM (SELECT clock_timestamp() AS now) AS clock
LEFT JOIN upstream_pace ON upstream = :upstream AND key_number = :key_number;

-- name: keep_pace
INSERT INTO upstream_pace (upstream, key_number, due_us, day, sent)
VALUES (:upstream, :key_number, :due_us, :day, :sent)
ON CONFLICT (upstream, key_number) DO UPDATE SET due_us = excluded.due_us, day = excluded.day, sent = excluded.sent;

-- name: index_of_open
-- Only where several share the database: one process counts in memory.
CREATE INDEX IF NOT EXISTS attempt_in_flight ON attempt (upstream, key_number) WHERE state IN ('sent', 'polling');

-- name: hour
SELECT clock_timestamp() AS at;

-- name: alive
-- $1: the process; $2: its role. Tells the hour.
INSERT INTO replica (owner, role, seen_us)
VALUES ($1, $2, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT))
ON CONFLICT (owner) DO UPDATE SET role = excluded.role, seen_us = excluded.seen_us
RETURNING clock_timestamp() AS at;

-- name: gone
DELETE FROM replica WHERE owner = $1
  OR seen_us < CAST((extract(epoch FROM clock_timestamp()) - 86400) * 1000000 AS BIGINT);
