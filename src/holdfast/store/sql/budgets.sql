-- name: limits_of
SELECT api_key.spend_micros_per_day AS micros_per_day, api_key.spend_micros_per_month AS micros_per_month,
  key_group.id AS group_id, key_group.spend_micros_per_day AS group_micros_per_day,
  key_group.spend_micros_per_month AS group_micros_per_month
FROM api_key LEFT JOIN key_group ON key_group.id = api_key.group_id WHERE api_key.id = :key_id;

-- name: add
INSERT INTO spend_day (owner, day, currency, micros) VALUES (:owner, :day, :currency, :micros)
ON CONFLICT (owner, day, currency) DO UPDATE SET micros = spend_day.micros + excluded.micros;

-- name: begin_day
INSERT INTO spend_day (owner, day, currency, micros) VALUES (:owner, :day, :currency, 0) ON CONFLICT DO NOTHING;

-- name: spend_within
-- Nothing is changed where it does not fit.
UPDATE spend_day SET micros = micros + :micros WHERE owner = :owner AND day = :day AND currency = :currency
  AND (CAST(:per_day AS BIGINT) IS NULL OR micros + :micros <= :per_day)
  AND (CAST(:per_month AS BIGINT) IS NULL OR :micros <= :per_month - (
    SELECT CAST(sum(month.micros) AS BIGINT) FROM spend_day AS month
    WHERE month.owner = :owner AND month.day BETWEEN :first AND :last AND month.currency = :currency));

-- name: spent
SELECT coalesce(sum(micros), 0) AS month_micros,
  coalesce(sum(CASE WHEN day = :day THEN micros END), 0) AS day_micros
FROM spend_day WHERE owner = :owner AND day BETWEEN :first AND :last AND currency = :currency;
