-- Processes that share a database: who of them lives, and how fast they call with each credential, all together. A process
-- that is alone leaves both empty. Runs before the code that needs it; an older one goes on beside it.

CREATE TABLE replica (
  owner   TEXT PRIMARY KEY,              -- as in generation.owner, and generation.watched_by
  role    TEXT NOT NULL,                 -- serve, work or all
  seen_us INTEGER NOT NULL               -- its last sign of life; microseconds since 1970, by the database's clock
);
CREATE TABLE upstream_pace (
  upstream   TEXT NOT NULL,
  key_number INTEGER NOT NULL,           -- as in attempt.key_number
  due_us     INTEGER NOT NULL,           -- the next call is due then, if calls come evenly (GCRA); as seen_us
  day        TEXT NOT NULL,              -- UTC
  sent       INTEGER NOT NULL,           -- calls of that day
  PRIMARY KEY (upstream, key_number)
);
