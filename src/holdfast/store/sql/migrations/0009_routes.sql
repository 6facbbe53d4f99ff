-- Which key and which entry of a route an attempt was sent to, what that costs where it is not what was asked for, and
-- what was decided after it: a start after a crash goes on with that. And what has been bought a second time each day.
-- Runs before the code that needs it.

ALTER TABLE attempt ADD COLUMN key_number INTEGER;
ALTER TABLE attempt ADD COLUMN route TEXT;
ALTER TABLE attempt ADD COLUMN tier TEXT;
ALTER TABLE attempt ADD COLUMN list_micros INTEGER;
ALTER TABLE attempt ADD COLUMN unit_micros INTEGER;
ALTER TABLE attempt ADD COLUMN decision TEXT;
CREATE TABLE exposure_day (
  day    TEXT NOT NULL,
  model  TEXT NOT NULL,
  micros INTEGER NOT NULL,
  PRIMARY KEY (day, model)
);
