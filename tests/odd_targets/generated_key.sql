-- A primary key that the server computes is not in the archive: the whole row is the key, so an upsert meets the
-- computed one.
-- servers: 13 18
-- as: superuser, owner
-- upsert: 1 generated_key_pkey
CREATE TABLE generated_key (h text GENERATED ALWAYS AS (upper(v)) STORED PRIMARY KEY, v text);
INSERT INTO generated_key (v) VALUES ('a'), ('b');

-- damage
UPDATE generated_key SET v = 'A' WHERE v = 'a';
DELETE FROM generated_key WHERE v = 'b';
