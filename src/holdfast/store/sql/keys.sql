-- name: insert_key
INSERT INTO api_key
  (id, label, created_at, revoked_at, expires_at, join_mode, group_id, is_admin, models, sizes, surfaces, rate_per_min,
   concurrency, spend_micros_per_day, spend_micros_per_month, purchases_max, tls_required)
VALUES
  (:id, :label, :created_at, :revoked_at, :expires_at, :join_mode, :group_id, :is_admin, :models, :sizes, :surfaces,
   :rate_per_min, :concurrency, :spend_micros_per_day, :spend_micros_per_month, :purchases_max, :tls_required);

-- name: insert_secret
INSERT INTO key_secret (digest, key_id, created_at) VALUES (:digest, :key_id, :created_at);

-- name: find_key
SELECT api_key.*, key_group.margin_share, key_group.label AS group_label, key_secret.expires_at AS secret_expires_at
FROM key_secret
JOIN api_key ON api_key.id = key_secret.key_id
LEFT JOIN key_group ON key_group.id = api_key.group_id
WHERE key_secret.digest = :digest;

-- name: count_keys
SELECT count(*) FROM api_key;

-- name: get_key
SELECT api_key.*, key_group.margin_share, key_group.label AS group_label, NULL AS secret_expires_at
FROM api_key
LEFT JOIN key_group ON key_group.id = api_key.group_id
WHERE api_key.id = :id;

-- name: list_keys
SELECT api_key.*, key_group.margin_share, key_group.label AS group_label, NULL AS secret_expires_at
FROM api_key
LEFT JOIN key_group ON key_group.id = api_key.group_id
WHERE api_key.id > :after
ORDER BY api_key.id
LIMIT :most;

-- name: update_key
UPDATE api_key SET
  label = :label, revoked_at = :revoked_at, expires_at = :expires_at, join_mode = :join_mode, group_id = :group_id,
  is_admin = :is_admin, models = :models, sizes = :sizes, surfaces = :surfaces, rate_per_min = :rate_per_min,
  concurrency = :concurrency, spend_micros_per_day = :spend_micros_per_day,
  spend_micros_per_month = :spend_micros_per_month, purchases_max = :purchases_max, tls_required = :tls_required
WHERE id = :id;

-- name: count_other_admins
SELECT count(*) FROM api_key
WHERE is_admin = 1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :at) AND id <> :id;

-- name: count_other_lasting_admins
SELECT count(*) FROM api_key WHERE is_admin = 1 AND revoked_at IS NULL AND expires_at IS NULL AND id <> :id;

-- name: secrets_of
SELECT * FROM key_secret WHERE key_id = :key_id ORDER BY created_at DESC, expires_at IS NOT NULL, digest;

-- name: replace_secrets
UPDATE key_secret SET expires_at = :until WHERE key_id = :key_id AND (expires_at IS NULL OR expires_at > :until);

-- name: drop_old_secrets
DELETE FROM key_secret WHERE key_id = :key_id AND expires_at < :before;

-- name: count_valid_secrets
SELECT count(*) FROM key_secret WHERE key_id = :key_id AND (expires_at IS NULL OR expires_at > :at);

-- name: insert_group
INSERT INTO key_group (id, label, margin_share, spend_micros_per_day, spend_micros_per_month, created_at)
VALUES (:id, :label, :margin_share, :spend_micros_per_day, :spend_micros_per_month, :created_at);

-- name: update_group
UPDATE key_group SET
  label = :label, margin_share = :margin_share, spend_micros_per_day = :spend_micros_per_day,
  spend_micros_per_month = :spend_micros_per_month
WHERE id = :id;

-- name: get_group
SELECT * FROM key_group WHERE id = :name OR label = :name ORDER BY id <> :name;

-- name: list_groups
SELECT * FROM key_group ORDER BY created_at, id LIMIT :most;
