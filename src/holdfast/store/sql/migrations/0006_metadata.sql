-- What a caller wants kept with a generation; it outlives the request, which is purged with the images.
-- Runs before the code that needs it.

ALTER TABLE generation ADD COLUMN metadata TEXT;
