-- Which attempt lost to another one of its part: what it still brings is an extra, and ends nothing. Runs before the code
-- that needs it.

ALTER TABLE attempt ADD COLUMN outrun INTEGER NOT NULL DEFAULT 0;
