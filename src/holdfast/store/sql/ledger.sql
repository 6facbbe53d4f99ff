-- name: insert_txn
INSERT INTO ledger_txn (kind, generation_id, drive, attempt_id, at)
VALUES (:kind, :generation_id, :drive, :attempt_id, :at) RETURNING id;

-- name: insert_entry
INSERT INTO ledger_entry (txn_id, account, micros) VALUES (:txn_id, :account, :micros);

-- name: add_to_account
INSERT INTO account (id, balance) VALUES (:account, :micros)
ON CONFLICT (id) DO UPDATE SET balance = account.balance + excluded.balance;

-- name: held_at
SELECT at FROM ledger_txn WHERE generation_id = :id AND drive = :drive AND attempt_id = '' AND kind = 'hold';

-- name: given_on_day
SELECT micros FROM compensation_day WHERE day = :day AND reason = :reason;

-- name: give_on_day
INSERT INTO compensation_day (day, reason, micros) VALUES (:day, :reason, :micros)
ON CONFLICT (day, reason) DO UPDATE SET micros = compensation_day.micros + excluded.micros;

-- name: sum_of_all
SELECT coalesce(sum(micros), 0) FROM ledger_entry;

-- name: unbalanced
SELECT txn_id FROM ledger_entry GROUP BY txn_id HAVING sum(micros) <> 0;

-- name: accounts
SELECT id, balance FROM account ORDER BY id;

-- name: accounts_recomputed
SELECT account AS id, sum(micros) AS balance FROM ledger_entry GROUP BY account ORDER BY account;

-- name: txns_of
SELECT kind, account, micros FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id
WHERE generation_id = :id ORDER BY ledger_txn.id, account;
