-- What was learnt of upstreams' latencies, by hour, for a week. Runs before the code that needs it.

CREATE TABLE latency_sketch (
  upstream   TEXT NOT NULL,
  model      TEXT NOT NULL,              -- the public name
  tier       TEXT NOT NULL,
  hour       INTEGER NOT NULL,           -- whole hours since 1970-01-01T00:00Z
  format     INTEGER NOT NULL,           -- of the buckets: how wide they are
  timed_out  INTEGER NOT NULL DEFAULT 0, -- samples that were not awaited to their end
  buckets    TEXT NOT NULL,              -- {"bucket": samples, …}
  updated_at TEXT NOT NULL,
  PRIMARY KEY (upstream, model, tier, hour)
);
CREATE INDEX latency_sketch_by_hour ON latency_sketch (hour);
