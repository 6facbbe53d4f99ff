-- name: begin_day
INSERT INTO exposure_day (day, model, micros) VALUES (:day, :model, 0) ON CONFLICT DO NOTHING;

-- name: expose
-- Nothing is changed where it does not fit under the cap: of many at one instant as many pass as fit.
UPDATE exposure_day SET micros = micros + :micros WHERE day = :day AND model = :model AND micros + :micros <= :cap;

-- name: exposed
SELECT micros FROM exposure_day WHERE day = :day AND model = :model;

-- name: spent_since
-- Ids sort by the time at which they were made, so no more than a day of rows is read.
SELECT coalesce(sum(charged_micros), 0) FROM generation WHERE id >= :first_id AND model = :model;
