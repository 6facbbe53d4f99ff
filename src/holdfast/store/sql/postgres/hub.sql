-- name: notify_function
-- In the transaction that writes the event, so that nobody is told of what is rolled back. The payload is the id alone:
-- what it was, the record tells. That it was accepted is told by its job.
CREATE OR REPLACE FUNCTION holdfast_notify() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
  IF NEW.type IN (''succeeded'', ''failed'', ''cancelled'') THEN
    PERFORM pg_notify(''gw_done'', NEW.generation_id);
  ELSIF NEW.type <> ''queued'' OR NEW.sequence_number > 1 THEN
    PERFORM pg_notify(''gw_step'', NEW.generation_id);
  END IF;
  RETURN NULL;
END';

-- name: notify_trigger
CREATE OR REPLACE TRIGGER holdfast_notify AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION holdfast_notify();

-- name: is_prepared
SELECT EXISTS (
  SELECT 1 FROM pg_trigger WHERE tgname = 'holdfast_notify' AND tgrelid = 'event'::regclass
) AS trigger, to_regclass('attempt_in_flight') IS NOT NULL AS index;

-- name: unseat
-- A leader that is frozen keeps its connection, and with it the lock: its system answers for it. One that lives asks
-- something every two seconds. $1: the lock; $2: how long it may be silent.
SELECT count(pg_terminate_backend(held.pid)) FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.classid = 0 AND held.objid = CAST($1::bigint AS oid)
  AND held.objsubid = 1 AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND activity.state = 'idle' AND activity.state_change < clock_timestamp() - $2::interval;

-- name: standings
-- How those stand that somebody here waits for. $1: their ids.
SELECT generation.id, generation.state, generation.sequence_number, generation.deadline_at, (
  SELECT count(*) FROM attempt WHERE attempt.generation_id = generation.id AND attempt.state IN ('sent', 'polling')
) AS in_flight FROM generation WHERE generation.id = ANY($1::text[]);
