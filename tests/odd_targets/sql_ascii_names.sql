-- A table whose very name is not UTF-8.
-- servers: 15
-- encoding: SQL_ASCII
-- backup: 1 invalid byte sequence for encoding
DO $$ BEGIN EXECUTE E'CREATE TABLE "caf\xe9" (id int PRIMARY KEY)'; END $$;

-- damage
SELECT 1;
