-- The provider's side of the ledger, and compensation. Runs before the code that needs it.

-- What the upstream takes for an image, without our margin. What was accepted before is taken to have been sold at cost.
ALTER TABLE generation ADD COLUMN list_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generation ADD COLUMN compensated_micros INTEGER NOT NULL DEFAULT 0;
UPDATE generation SET list_micros = unit_micros;

-- A transaction may be about an attempt. Uniqueness is part of a table: both are made anew, under their own names.
ALTER TABLE ledger_txn RENAME TO former_txn;
ALTER TABLE ledger_entry RENAME TO former_entry;
DROP INDEX ledger_txn_resolved;
DROP INDEX ledger_entry_by_txn;
CREATE TABLE ledger_txn (
  id            INTEGER PRIMARY KEY,
  kind          TEXT NOT NULL,
  generation_id TEXT NOT NULL,
  drive         INTEGER NOT NULL,
  attempt_id    TEXT NOT NULL DEFAULT '',
  at            TEXT NOT NULL,
  UNIQUE (generation_id, drive, attempt_id, kind)
);
CREATE UNIQUE INDEX ledger_txn_resolved ON ledger_txn (generation_id, drive) WHERE kind IN ('capture', 'void');
CREATE TABLE ledger_entry (
  txn_id  INTEGER NOT NULL REFERENCES ledger_txn (id),
  account TEXT NOT NULL,
  micros  INTEGER NOT NULL
);
INSERT INTO ledger_txn (id, kind, generation_id, drive, at)
SELECT id, kind, generation_id, drive, at FROM former_txn ORDER BY id;
INSERT INTO ledger_entry (txn_id, account, micros) SELECT txn_id, account, micros FROM former_entry ORDER BY rowid;
DROP TABLE former_entry;
DROP TABLE former_txn;
CREATE INDEX ledger_entry_by_txn ON ledger_entry (txn_id);

CREATE TABLE compensation_day (
  day    TEXT NOT NULL,
  reason TEXT NOT NULL,
  micros INTEGER NOT NULL,
  PRIMARY KEY (day, reason)
);

-- Attempts that ended before there was a provider's side are booked as they stand.
INSERT INTO ledger_txn (kind, generation_id, drive, attempt_id, at)
SELECT CASE
    WHEN attempt.state = 'unknown' THEN 'exposure'
    WHEN generation.late = 1
      OR EXISTS (SELECT 1 FROM blob WHERE blob.attempt_id = attempt.id AND blob.kind = 'late') THEN 'extra'
    ELSE 'cost'
  END, attempt.generation_id, attempt.drive, attempt.id, coalesce(attempt.ended_at, attempt.sent_at)
FROM attempt JOIN generation ON generation.id = attempt.generation_id
WHERE attempt.state IN ('settled', 'charged_failed', 'unknown') ORDER BY attempt.ended_at, attempt.id;
INSERT INTO ledger_entry (txn_id, account, micros)
SELECT ledger_txn.id, CASE ledger_txn.kind
    WHEN 'cost' THEN 'provider_cost' WHEN 'exposure' THEN 'unknown_exposure' ELSE 'extra_images'
  END, attempt.estimated_micros
FROM ledger_txn JOIN attempt ON attempt.id = ledger_txn.attempt_id;
INSERT INTO ledger_entry (txn_id, account, micros)
SELECT ledger_txn.id, 'provider:' || attempt.upstream, -attempt.estimated_micros
FROM ledger_txn JOIN attempt ON attempt.id = ledger_txn.attempt_id;
INSERT INTO account (id, balance)
SELECT account, sum(micros) FROM ledger_entry JOIN ledger_txn ON ledger_txn.id = ledger_entry.txn_id
WHERE ledger_txn.attempt_id <> '' GROUP BY account;
