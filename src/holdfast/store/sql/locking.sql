-- name: lock
-- Of PostgreSQL alone, as all of this file. With the transaction's number: whoever loses the answer to its commit asks
-- for it by that.
SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)), txid_current() AS txid;

-- name: lock_all
SELECT pg_advisory_xact_lock(hashtextextended(name, 0)), txid_current() AS txid
FROM unnest(CAST(:names AS text[])) AS name;

-- name: lock_generation_of
SELECT pg_advisory_xact_lock(hashtextextended('generation' || chr(31) || generation_id, 0)), txid_current() AS txid
FROM attempt WHERE id = :attempt_id;
