-- name: open_session
-- Nothing is written for a secret that is not on record: whoever holds only the data folder has no key to sign in with.
INSERT INTO session (digest, key_id, secret_digest, created_at, expires_at)
SELECT :digest, key_id, digest, :created_at, :expires_at FROM key_secret WHERE digest = :secret_digest;

-- name: find_session
SELECT
  api_key.*, key_group.margin_share, key_group.label AS group_label, key_secret.expires_at AS secret_expires_at,
  session.created_at AS opened_at, session.expires_at AS ends_at
FROM session
JOIN key_secret ON key_secret.digest = session.secret_digest
JOIN api_key ON api_key.id = session.key_id
LEFT JOIN key_group ON key_group.id = api_key.group_id
WHERE session.digest = :digest;

-- name: close_session
DELETE FROM session WHERE digest = :digest;

-- name: forget_ended
DELETE FROM session WHERE expires_at <= :now;

-- name: forget_oldest
DELETE FROM session WHERE key_id = :key_id AND digest NOT IN (
  SELECT digest FROM session WHERE key_id = :key_id ORDER BY created_at DESC, digest LIMIT :kept
);
