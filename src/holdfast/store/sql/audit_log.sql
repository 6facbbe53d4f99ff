-- name: note
INSERT INTO audit (at, actor, action, target, details) VALUES (:at, :actor, :action, :target, :details);

-- name: entries
-- Newest first; what a filter leaves out is passed over, up to a bound.
SELECT kept.*, api_key.label AS actor_label FROM (
  SELECT * FROM audit WHERE id < :before ORDER BY id DESC LIMIT :looked_at_max
) AS kept
LEFT JOIN api_key ON api_key.id = kept.actor
WHERE (CAST(:actor AS TEXT) IS NULL OR actor = :actor) AND (CAST(:action AS TEXT) IS NULL OR action = :action)
  AND (CAST(:target AS TEXT) IS NULL OR target = :target)
ORDER BY kept.id DESC LIMIT :limit;

-- name: last_looked_at
-- Where a filter stopped looking, if more lies behind that.
SELECT min(id) AS id FROM (SELECT id FROM audit WHERE id < :before ORDER BY id DESC LIMIT :looked_at_max) AS seen
HAVING min(id) > (SELECT min(id) FROM audit);

-- name: oldest
-- Of the oldest entries those whose time is over; the others are not looked at.
SELECT id, at FROM (SELECT id, at FROM audit ORDER BY id LIMIT :most) AS first WHERE at < :before ORDER BY id;

-- name: delete
DELETE FROM audit WHERE id = :id;
