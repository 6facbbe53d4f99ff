-- What the sweeper needs. Runs before the code that needs it.

ALTER TABLE generation ADD COLUMN purged_at TEXT;
ALTER TABLE blob ADD COLUMN collected_at TEXT;
CREATE INDEX generation_to_purge ON generation (purge_after, id) WHERE purged_at IS NULL AND purge_after IS NOT NULL;

CREATE TABLE input_ref (
  generation_id TEXT NOT NULL REFERENCES generation (id),
  store_key     TEXT NOT NULL,
  PRIMARY KEY (store_key, generation_id)
);
CREATE INDEX input_ref_by_generation ON input_ref (generation_id);

INSERT INTO input_ref (generation_id, store_key)
SELECT DISTINCT generation.id, json_extract(input.value, '$.store_key')
FROM generation, json_each(CAST(generation.request AS TEXT), '$.inputs') AS input
WHERE generation.request IS NOT NULL;

-- Whoever was told before that everything goes after a day keeps what was collected as long; the rest stays for a week.
UPDATE blob SET collected_at = (SELECT collected_at FROM generation WHERE generation.id = blob.generation_id)
WHERE kind = 'result';
UPDATE generation SET purge_after = strftime('%Y-%m-%dT%H:%M:%fZ', finished_at, '+7 days')
WHERE finished_at IS NOT NULL AND collected_at IS NULL;
UPDATE blob SET delete_after = (SELECT purge_after FROM generation WHERE generation.id = blob.generation_id)
WHERE generation_id IN (SELECT id FROM generation WHERE finished_at IS NOT NULL AND collected_at IS NULL);
