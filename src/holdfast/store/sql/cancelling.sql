-- name: stop_buying
-- From here on no claim of this generation succeeds.
UPDATE generation SET cancel_requested = :cancel_requested, parts_open = :parts_open,
  sequence_number = :sequence_number
WHERE id = :id AND state = 'running';
