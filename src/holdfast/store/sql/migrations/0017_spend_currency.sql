-- What keys and groups spend, by currency too: a gateway whose currency was changed must not add one to the other. Runs
-- before the code that needs it; an older one does not go on beside it. Counted anew, from what was held and charged.

CREATE TABLE spend_by_currency (
  owner    TEXT NOT NULL,
  day      TEXT NOT NULL,
  currency TEXT NOT NULL,
  micros   INTEGER NOT NULL,
  PRIMARY KEY (owner, day, currency)
);
INSERT INTO spend_by_currency (owner, day, currency, micros)
SELECT owner, held_on, currency, sum(micros) FROM (
  SELECT 'key:' || key_id AS owner, held_on, currency,
    CASE WHEN state IN ('queued', 'running') THEN held_micros ELSE charged_micros - compensated_micros END AS micros
  FROM generation
  UNION ALL
  SELECT 'group:' || group_id, held_on, currency,
    CASE WHEN state IN ('queued', 'running') THEN held_micros ELSE charged_micros - compensated_micros END
  FROM generation WHERE group_id IS NOT NULL
) AS kept GROUP BY owner, held_on, currency;
DROP TABLE spend_day;
ALTER TABLE spend_by_currency RENAME TO spend_day;
