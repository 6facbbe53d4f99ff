-- name: note
INSERT INTO audit (at, actor, action, target, details) VALUES (:at, :actor, :action, :target, :details);

-- name: entries
-- Newest first; what a filter leaves out is passed over, up to a bound.
SELECT kept.*, api_key.label AS actor_label FROM (
  SELECT * FROM audit WHERE id < :before ORDER BY id DESC LIMIT :looked_at_max
) AS kept
LEFT JOIN api_key ON api_key.id = kept.actor
WHERE (:actor IS NULL OR actor = :actor) AND (:action IS NULL OR action = :action)
  AND (:target IS NULL OR target = :target)
ORDER BY kept.id DESC LIMIT :limit;
