-- name: total
SELECT COUNT(*) AS images, COALESCE(SUM(bytes), 0) AS bytes FROM overflow WHERE store_key <> :store_key;

-- name: find
SELECT store_key, sha256, bytes, written_at, is_whole FROM overflow WHERE store_key = :store_key;

-- name: begin
INSERT INTO overflow (store_key, sha256, bytes, written_at, is_whole) VALUES (:store_key, :sha256, :bytes, :at, 0)
ON CONFLICT (store_key) DO UPDATE SET
  sha256 = excluded.sha256, bytes = excluded.bytes, written_at = excluded.written_at, is_whole = 0;

-- name: make_young
UPDATE overflow SET written_at = :at WHERE store_key = :store_key;

-- name: drop_pieces
DELETE FROM overflow_piece WHERE store_key = :store_key;

-- name: add_piece
-- Two that put one image at once bring the same bytes.
INSERT INTO overflow_piece (store_key, n, bytes) VALUES (:store_key, :n, :bytes) ON CONFLICT (store_key, n) DO NOTHING;

-- name: held
SELECT COALESCE(SUM(LENGTH(bytes)), 0) AS bytes FROM overflow_piece WHERE store_key = :store_key;

-- name: finish
UPDATE overflow SET is_whole = 1 WHERE store_key = :store_key AND sha256 = :sha256 AND bytes = :bytes;

-- name: piece
SELECT bytes FROM overflow_piece WHERE store_key = :store_key AND n = :n;

-- name: listed
SELECT store_key, sha256, bytes, written_at, is_whole FROM overflow
WHERE (written_at, store_key) > (:at, :store_key) ORDER BY written_at, store_key LIMIT :count;

-- name: of_attempt
-- Keys that begin so; of a name that ends with a hyphen, they end before the next character.
SELECT store_key, sha256, bytes, written_at, is_whole FROM overflow
WHERE store_key >= :beginning AND store_key < :beyond AND is_whole = 1 ORDER BY store_key;

-- name: remove
DELETE FROM overflow WHERE store_key = :store_key;

-- name: note_bucket
INSERT INTO meta (name, value) VALUES ('bucket', :address)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: noted_bucket
SELECT value FROM meta WHERE name = 'bucket';
