-- name: insert_key
INSERT INTO api_key (id, digest, label, created_at, join_mode) VALUES (:id, :digest, :label, :created_at, :join_mode);

-- name: find_key
SELECT * FROM api_key WHERE digest = :digest AND revoked_at IS NULL;

-- name: count_keys
SELECT count(*) FROM api_key;
