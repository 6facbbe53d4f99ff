-- name: put_sketch
INSERT INTO latency_sketch (upstream, model, tier, hour, format, timed_out, buckets, updated_at)
VALUES (:upstream, :model, :tier, :hour, :format, :timed_out, :buckets, :updated_at)
ON CONFLICT (upstream, model, tier, hour) DO UPDATE SET
  format = excluded.format,
  timed_out = excluded.timed_out,
  buckets = excluded.buckets,
  updated_at = excluded.updated_at;

-- name: delete_old_sketches
-- All that keeps the table small.
DELETE FROM latency_sketch WHERE hour < :oldest_hour;

-- name: get_sketches
SELECT * FROM latency_sketch WHERE hour >= :oldest_hour AND format = :format
ORDER BY upstream, model, tier, hour;
