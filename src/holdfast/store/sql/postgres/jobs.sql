-- name: enqueue
-- In the transaction that accepts the generation. The same job again is one, as long as it has not been put away.
INSERT INTO pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, status)
VALUES (:priority, :lane, convert_to(:generation_id, 'UTF8'), now() + make_interval(secs => :run_after_s), :key, 'queued')
ON CONFLICT (dedupe_key) WHERE (status IN ('queued', 'picked') AND dedupe_key IS NOT NULL) DO NOTHING;

-- name: take
-- The same, taken by the process that accepts it. Its sign of life is later than the moment at which it was asked for:
-- our own clock of the lease ends first.
INSERT INTO pgqueuer (priority, entrypoint, payload, dedupe_key, status, queue_manager_id, heartbeat)
VALUES (:priority, :lane, convert_to(:generation_id, 'UTF8'), :key, 'picked', :manager, clock_timestamp())
ON CONFLICT (dedupe_key) WHERE (status IN ('queued', 'picked') AND dedupe_key IS NOT NULL) DO NOTHING
RETURNING id;

-- name: forget
-- What nobody has been given. $1: the generation.
DELETE FROM pgqueuer WHERE status = 'queued' AND dedupe_key IS NOT NULL AND payload = convert_to($1, 'UTF8')
  AND dedupe_key LIKE $1 || ':%';

-- name: put_away
-- Done. Who was taken for dead, and whose job somebody else has now, puts nothing away. Where others wait there is room
-- for one of them now, and a notice says so.
-- $1: jobs; $2: the managers of this process; $3: the channel.
WITH gone AS (
  DELETE FROM pgqueuer WHERE id = ANY($1::bigint[]) AND queue_manager_id = ANY($2::uuid[])
)
SELECT pg_notify($3, json_build_object('channel', $3::text, 'operation', 'delete', 'sent_at', now(),
  'table', 'pgqueuer', 'type', 'table_changed_event')::text)
WHERE EXISTS (SELECT 1 FROM pgqueuer WHERE status = 'queued' AND execute_after <= now());

-- name: hand_back
-- Given to anybody again after $3; the notice wakes those who wait for work. $1 and $2 as above, $4: the channel.
WITH back AS (
  UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, slot = NULL, execute_after = now() + $3::interval,
    attempts = attempts + 1, updated = now()
  WHERE id = ANY($1::bigint[]) AND queue_manager_id = ANY($2::uuid[]) RETURNING id
)
SELECT pg_notify($4, json_build_object('channel', $4::text, 'operation', 'update', 'sent_at', now(),
  'table', 'pgqueuer', 'type', 'table_changed_event')::text)
FROM (SELECT 1 FROM back LIMIT 1) AS any_of_them;

-- name: take_back
-- What was taken, and whose taking was never heard of, as the connection was lost: else it would wait for a lease.
-- $1: the manager; $2: what it knows of.
UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, slot = NULL, updated = now()
WHERE queue_manager_id = $1 AND status = 'picked' AND NOT id = ANY($2::bigint[]);

-- name: let_go
-- Of whoever has shown no sign of life for a lease ($1), to anybody; nothing of it when it is later than $2, or the
-- server has not been there for a lease itself: then nobody could show any.
WITH dead AS (
  SELECT id FROM pgqueuer WHERE status = 'picked' AND heartbeat < now() - $1::interval
    AND clock_timestamp() < $2 AND pg_postmaster_start_time() < now() - $1::interval FOR UPDATE SKIP LOCKED
), back AS (
  UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, slot = NULL, updated = now()
  FROM dead WHERE pgqueuer.id = dead.id RETURNING pgqueuer.id
)
SELECT clock_timestamp() AS at, (SELECT count(*) FROM back) AS jobs;

-- name: renew
-- Signs of life. A longer lease is written as a beat of the future: whoever looks for the dead need not know how long
-- each lease is. $1: jobs; $2: the managers of this process; $3: how much longer than the shortest lease.
UPDATE pgqueuer SET heartbeat = now() + $3::interval
WHERE id = ANY($1::bigint[]) AND queue_manager_id = ANY($2::uuid[]) AND status = 'picked' RETURNING id;

-- name: adopt
-- A net under all else: what is open, and is nobody's job, becomes one. It finds what a database copied from elsewhere
-- brings along, and what a failover has lost. What has ended while an attempt was in flight is open too.
INSERT INTO pgqueuer (priority, entrypoint, payload, dedupe_key, status)
SELECT 0, generation.model, convert_to(generation.id, 'UTF8'), generation.id || ':' || generation.drive, 'queued'
FROM generation WHERE generation.id IN (
  SELECT id FROM generation WHERE state IN ('queued', 'running')
  UNION SELECT generation_id FROM attempt WHERE state IN ('sent', 'polling')
) AND NOT EXISTS (
  SELECT 1 FROM pgqueuer WHERE pgqueuer.dedupe_key = generation.id || ':' || generation.drive
)
ON CONFLICT (dedupe_key) WHERE (status IN ('queued', 'picked') AND dedupe_key IS NOT NULL) DO NOTHING;

-- name: backlog
-- What no upstream was asked for yet, whether it waits for a worker or, at one, for its place in line.
SELECT count(*) FROM generation WHERE state = 'queued';

-- name: overdue
-- What nobody has begun to work on in its time, and nobody waits for. $1: before which its time was over.
SELECT id FROM generation WHERE state = 'queued' AND deadline_at < $1 ORDER BY created_at LIMIT 100;

-- name: keep_no_log
-- Nobody reads what PgQueuer logs of each job, and nothing would ever clear it: our own tables tell the story.
CREATE OR REPLACE FUNCTION holdfast_no_job_log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

-- name: keep_no_log_trigger
-- Only where it is missing, as every replica does this at its start.
DO 'BEGIN
  IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = ''holdfast_no_job_log'' AND tgrelid = ''pgqueuer_log''::regclass)
  THEN
    CREATE TRIGGER holdfast_no_job_log BEFORE INSERT ON pgqueuer_log
    FOR EACH ROW EXECUTE FUNCTION holdfast_no_job_log();
  END IF;
END';

-- name: tell_of_queued
-- PgQueuer's own trigger tells every worker of every change, of what was taken and what was put away too: each of them
-- then asks the database four times whether there is anything to do. What is handed back is told by whoever does that.
CREATE OR REPLACE FUNCTION holdfast_job_queued() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
  IF EXISTS (SELECT 1 FROM fresh WHERE status = ''queued'') THEN
    PERFORM pg_notify(''ch_pgqueuer'', json_build_object(''channel'', ''ch_pgqueuer'', ''operation'', ''insert'',
      ''sent_at'', now(), ''table'', ''pgqueuer'', ''type'', ''table_changed_event'')::text);
  END IF;
  RETURN NULL;
END';

-- name: tell_of_queued_trigger
DO 'BEGIN
  IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = ''tg_pgqueuer_changed'' AND tgrelid = ''pgqueuer''::regclass
    AND tgfoid = ''holdfast_job_queued''::regproc)
  THEN
    CREATE OR REPLACE TRIGGER tg_pgqueuer_changed AFTER INSERT ON pgqueuer REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION holdfast_job_queued();
  END IF;
END';
