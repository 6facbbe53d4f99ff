-- When its owner had a generation's images and prompt deleted. Runs before the code that needs it; an older one goes on
-- beside it.

ALTER TABLE generation ADD COLUMN deleted_at TEXT;
