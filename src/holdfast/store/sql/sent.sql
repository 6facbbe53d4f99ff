-- name: sent_since
-- An attempt's id begins with the time at which it was made, just before it was sent: the primary key is the index.
SELECT upstream, key_number, sent_at FROM attempt WHERE id >= :since ORDER BY id;

-- name: sent_count
SELECT upstream, key_number, count(*) AS sent FROM attempt WHERE id >= :since GROUP BY upstream, key_number;
