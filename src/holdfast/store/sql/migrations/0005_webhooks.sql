-- Webhooks: who is told of ends, and what became of the telling. Runs before the code that needs it.

CREATE TABLE webhook_endpoint (
  id             TEXT PRIMARY KEY,
  key_id         TEXT NOT NULL,
  url            TEXT,                  -- NULL: the key's default, whose secret signs for inline URLs
  secret_number  INTEGER NOT NULL,      -- from 1; the secret is derived from it and the data folder's
  previous_until TEXT,                  -- until then the secret before it signs too
  created_at     TEXT NOT NULL,
  disabled_at    TEXT,
  reason         TEXT,
  deleted_at     TEXT                   -- its deliveries go in small steps, then the row
);
CREATE INDEX webhook_endpoint_by_key ON webhook_endpoint (key_id) WHERE deleted_at IS NULL;
CREATE INDEX webhook_endpoint_deleted ON webhook_endpoint (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX webhook_endpoint_default ON webhook_endpoint (key_id) WHERE url IS NULL AND deleted_at IS NULL;

CREATE TABLE webhook_inline (
  generation_id TEXT PRIMARY KEY,
  url           TEXT NOT NULL
);

CREATE TABLE webhook_delivery (
  id            TEXT PRIMARY KEY,
  endpoint_id   TEXT NOT NULL REFERENCES webhook_endpoint (id),
  key_id        TEXT NOT NULL,
  url           TEXT,                   -- inline; NULL: the endpoint's
  generation_id TEXT NOT NULL,          -- kept longer than the generation, so no reference
  drive         INTEGER NOT NULL,
  type          TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'dead')),
  tries         INTEGER NOT NULL DEFAULT 0,
  next_at       TEXT,
  last_status   INTEGER,
  last_error    TEXT,
  created_at    TEXT NOT NULL,
  ended_at      TEXT,
  log           TEXT NOT NULL DEFAULT '[]', -- the latest tries, a bounded number
  UNIQUE (endpoint_id, generation_id, drive, type)
);
CREATE INDEX webhook_delivery_by_endpoint ON webhook_delivery (endpoint_id, id);
CREATE INDEX webhook_delivery_pending ON webhook_delivery (next_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_ended ON webhook_delivery (ended_at) WHERE state <> 'pending';
