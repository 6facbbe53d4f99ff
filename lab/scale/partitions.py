"""The migration that partitions what grows, by month: written out, to be read and tried. Nothing here is shipped.

    python lab/scale/partitions.py 2027-02 3 5000000

(The first month with a partition of its own, how many, and a number that no transaction of the ledger has by then.)

What there is becomes the first partition of itself, so nothing is copied. The ids hold their moment (ULIDs), so a month
is a range of ids, and every statement that names a generation by its id finds the one partition that has it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from holdfast.clock import ulid

# What a table is cut by, and its primary key: PostgreSQL takes a unique index on all partitions only with the column
# that they are cut by. `ledger_txn` gives up the id alone, which its sequence keeps unique.
CUT = {
    "generation": ("id", "id"),
    "event": ("generation_id", "generation_id, sequence_number"),
    "ledger_txn": ("generation_id", "generation_id, id"),
}
PREPARE = """
-- First, while everybody works: what makes attaching a matter of milliseconds, since no row need be looked at then.
ALTER TABLE generation ADD CONSTRAINT before CHECK (id < '{bound}') NOT VALID;
ALTER TABLE generation VALIDATE CONSTRAINT before;
ALTER TABLE event ADD CONSTRAINT before CHECK (generation_id < '{bound}') NOT VALID;
ALTER TABLE event VALIDATE CONSTRAINT before;
ALTER TABLE ledger_txn ADD CONSTRAINT before CHECK (generation_id < '{bound}') NOT VALID;
ALTER TABLE ledger_txn VALIDATE CONSTRAINT before;
CREATE UNIQUE INDEX CONCURRENTLY ledger_txn_number ON ledger_txn (generation_id, id);
ALTER TABLE ledger_entry ADD CONSTRAINT before CHECK (txn_id < {number}) NOT VALID;
ALTER TABLE ledger_entry VALIDATE CONSTRAINT before;
"""
BEGIN = """
-- Then, before that month begins, in one transaction.
BEGIN;
LOCK TABLE generation, event, ledger_txn, ledger_entry, attempt, blob, input_ref IN ACCESS EXCLUSIVE MODE;

-- The keys of calls are one for all months, which no index on partitions can say: they have a table of their own.
CREATE TABLE idempotency (
  key_id          TEXT COLLATE "C" NOT NULL,
  idempotency_key TEXT COLLATE "C" NOT NULL,
  generation_id   TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (key_id, idempotency_key)
);
INSERT INTO idempotency SELECT key_id, idempotency_key, id FROM generation WHERE idempotency_key IS NOT NULL;
CREATE FUNCTION keep_idempotency() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO idempotency VALUES (NEW.key_id, NEW.idempotency_key, NEW.id);
  RETURN NEW;
END $$;

-- A reference to a partitioned table cannot be added without reading all that refers; the transactions that write
-- both sides have kept it so far, and go on to.
ALTER TABLE attempt DROP CONSTRAINT attempt_generation_id_fkey;
ALTER TABLE blob DROP CONSTRAINT blob_generation_id_fkey;
ALTER TABLE event DROP CONSTRAINT event_generation_id_fkey;
ALTER TABLE input_ref DROP CONSTRAINT input_ref_generation_id_fkey;
ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_txn_id_fkey;
"""
END = """
CREATE TRIGGER keep_idempotency BEFORE INSERT ON generation
  FOR EACH ROW WHEN (NEW.idempotency_key IS NOT NULL) EXECUTE FUNCTION keep_idempotency();
CREATE TRIGGER holdfast_notify AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION holdfast_notify();
COMMIT;
"""


def first_id(month: datetime) -> str:
    """Give the least id that a generation of a month can have."""
    return f"gen_{ulid(int(month.timestamp() * 1000), bytes(10))}"


def months_from(month: datetime, count: int) -> list[datetime]:
    """List the beginnings of so many months, and of the one behind them."""
    starts = [month]
    for _ in range(count):
        last = starts[-1]
        starts.append(last.replace(year=last.year + last.month // 12, month=last.month % 12 + 1))
    return starts


def cut(table: str, months: list[datetime]) -> str:
    """Write what makes one table the first partition of a table of its name, with months behind it.

    Its indexes become those of the first partition. The new table has them too, but for those that are unique without
    the column that it is cut by.
    """
    column, primary = CUT[table]
    bounds = [f"'{first_id(month)}'" for month in months]
    lines = [
        f"\n-- {table}, by its {column}.",
        f"ALTER TABLE {table} RENAME TO {table}_before;",
        f"DROP TRIGGER IF EXISTS holdfast_notify ON {table}_before;",
        f"CREATE TABLE {table} (LIKE {table}_before INCLUDING DEFAULTS) PARTITION BY RANGE ({column});",
    ]
    if table == "ledger_txn":
        lines += [
            "CREATE SEQUENCE ledger_txn_next;",
            "SELECT setval('ledger_txn_next', (SELECT coalesce(max(id), 0) + 1 FROM ledger_txn_before), false);",
            "ALTER TABLE ledger_txn_before ALTER COLUMN id DROP IDENTITY;",
            "ALTER TABLE ledger_txn ALTER COLUMN id SET DEFAULT nextval('ledger_txn_next');",
            "ALTER TABLE ledger_txn_before DROP CONSTRAINT ledger_txn_pkey;",
            "ALTER TABLE ledger_txn_before ADD PRIMARY KEY USING INDEX ledger_txn_number;",
            "CREATE INDEX ledger_txn_by_id ON ledger_txn (id);",
        ]
    lines += [
        f"ALTER TABLE {table} ADD PRIMARY KEY ({primary});",
        *INDEXES[table],
        f"ALTER TABLE {table} ATTACH PARTITION {table}_before",
        f"  FOR VALUES FROM (MINVALUE) TO ({bounds[0]});",
    ]
    for month, lower, upper in zip(months, bounds, bounds[1:], strict=False):
        lines += [
            f"CREATE TABLE {table}_{month:%Y_%m} PARTITION OF {table}",
            f"  FOR VALUES FROM ({lower}) TO ({upper});",
        ]
    return "\n".join(lines)


INDEXES: dict[str, list[str]] = {
    "generation": [
        "DROP INDEX generation_by_idempotency_key;",
        "CREATE INDEX generation_by_call ON generation (key_id, idempotency_key) WHERE idempotency_key IS NOT NULL;",
        "CREATE INDEX generation_is_open ON generation (created_at) WHERE state IN ('queued', 'running');",
        "CREATE INDEX generation_alike ON generation (key_id, fingerprint, created_at, id)",
        "  WHERE fingerprint IS NOT NULL;",
        "CREATE INDEX generation_of_key ON generation (key_id, created_at);",
        "CREATE INDEX generation_due ON generation (purge_after, id)",
        "  WHERE purged_at IS NULL AND purge_after IS NOT NULL;",
        "CREATE INDEX generation_begun ON generation (created_at);",
        "CREATE INDEX generation_ended ON generation (finished_at, state, charged_micros, compensated_micros)",
        "  WHERE finished_at IS NOT NULL;",
        "CREATE INDEX generation_not_collected ON generation (created_at, id)",
        "  WHERE state = 'succeeded' AND collected_at IS NULL AND purged_at IS NULL;",
        "CREATE INDEX generation_has_failed ON generation (finished_at, failure, state) WHERE state = 'failed';",
    ],
    "event": [],
    "ledger_txn": [
        "CREATE UNIQUE INDEX ledger_txn_once ON ledger_txn (generation_id, drive, attempt_id, kind);",
        "CREATE UNIQUE INDEX ledger_txn_ended ON ledger_txn (generation_id, drive) WHERE kind IN ('capture', 'void');",
    ],
}


ENTRIES = """
-- ledger_entry, by its transaction's number: what stands there now, and whatever comes until that number is reached.
ALTER TABLE ledger_entry RENAME TO ledger_entry_before;
CREATE TABLE ledger_entry (LIKE ledger_entry_before) PARTITION BY RANGE (txn_id);
CREATE SEQUENCE ledger_entry_next;
SELECT setval('ledger_entry_next', (SELECT coalesce(max(rowid), 0) + 1 FROM ledger_entry_before), false);
ALTER TABLE ledger_entry_before ALTER COLUMN rowid DROP IDENTITY;
ALTER TABLE ledger_entry ALTER COLUMN rowid SET DEFAULT nextval('ledger_entry_next');
CREATE INDEX ledger_entry_of_txn ON ledger_entry (txn_id);
ALTER TABLE ledger_entry ATTACH PARTITION ledger_entry_before FOR VALUES FROM (MINVALUE) TO ({number});
CREATE TABLE ledger_entry_next_month PARTITION OF ledger_entry FOR VALUES FROM ({number}) TO (MAXVALUE);
"""


def prepared(month: datetime, number: int) -> list[str]:
    """List the statements that are run one by one, days before.

    Args:
        month: The first with partitions of its own.
        number: That no transaction of the ledger has reached when that month begins; the first behind it.
    """
    text = PREPARE.format(bound=first_id(month), number=number)
    return [line for line in text.splitlines() if line and not line.startswith("--")]


def migration(month: datetime, count: int, number: int) -> str:
    """Write what is run then: one transaction, which has every table for itself for some milliseconds."""
    months = months_from(month, count)
    return "\n".join([BEGIN, *(cut(table, months) for table in CUT), ENTRIES.format(number=number), END])


def main() -> None:
    """Print both."""
    month, count, number = sys.argv[1:]
    begins = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    print("\n".join(prepared(begins, int(number))))
    print(migration(begins, int(count), int(number)))


if __name__ == "__main__":
    main()
