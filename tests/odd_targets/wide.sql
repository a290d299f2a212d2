-- As many columns as a table can have, which is more than a function can have arguments.
-- servers: 13 18
DO $$ BEGIN
  EXECUTE 'CREATE TABLE wide ('
    || (SELECT string_agg('c' || g || ' int' || CASE WHEN g = 1 THEN ' PRIMARY KEY' ELSE '' END, ',')
          FROM generate_series(1, 1600) g) || ')';
  EXECUTE 'CREATE TABLE wide_without_key ('
    || (SELECT string_agg('c' || g || ' bool', ',') FROM generate_series(1, 1600) g) || ')';
END $$;
INSERT INTO wide (c1, c1600) VALUES (1, 5), (2, 6);
INSERT INTO wide_without_key (c1, c1600) VALUES (true, false), (NULL, NULL);

-- damage
UPDATE wide SET c7 = 9 WHERE c1 = 1;
DELETE FROM wide WHERE c1 = 2;
DELETE FROM wide_without_key WHERE c1;
