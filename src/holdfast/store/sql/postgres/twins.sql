-- name: waiting
SELECT coalesce(sum(callers), 0) FROM generation WHERE id = ANY(CAST(:ids AS text[]));

-- name: ask_after
SELECT pg_notify('gw_twin', :id);
