-- Tables of every shape: without columns to write, without keys, inheriting, unlogged, referring to themselves, with
-- rules that swallow writes, with unique values that were swapped.
-- servers: 13 15 18
-- as: superuser, owner
CREATE TABLE only_generated (a int GENERATED ALWAYS AS (7) STORED);
INSERT INTO only_generated DEFAULT VALUES;
INSERT INTO only_generated DEFAULT VALUES;
CREATE TABLE nulls (a int, b text, c jsonb);
INSERT INTO nulls VALUES (NULL, NULL, NULL), (NULL, NULL, NULL);
CREATE TABLE above (id int PRIMARY KEY, v text);
CREATE TABLE below (extra int, PRIMARY KEY (id)) INHERITS (above);
INSERT INTO above VALUES (1, 'a'), (2, 'b');
INSERT INTO below VALUES (1, 'c', 5), (2, 'd', 6);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
INSERT INTO unlogged VALUES (1);
-- Its columns are named as the aliases in a comparison might be.
CREATE TABLE "q""u.o
t e" ("c""1
x" int PRIMARY KEY, "s" text, "t" text, "r" int, "d" int);
INSERT INTO "q""u.o
t e" VALUES (1, 'a', 'b', 1, 2);
CREATE TABLE tree (id int PRIMARY KEY, p int REFERENCES tree ON DELETE CASCADE);
INSERT INTO tree VALUES (1, 1), (2, 1), (3, 2);
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE full_match (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES pairs MATCH FULL);
INSERT INTO pairs VALUES (1, 2);
INSERT INTO full_match VALUES (1, 1, 2), (2, NULL, NULL);
CREATE TABLE old_rows (id int PRIMARY KEY, p int);
INSERT INTO old_rows VALUES (1, 99);
ALTER TABLE old_rows ADD CONSTRAINT late_fk FOREIGN KEY (p) REFERENCES above NOT VALID;
CREATE TABLE swapped (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, r int4range,
                      EXCLUDE USING gist (r WITH &&) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO swapped VALUES (1, 1, '[1,2)'), (2, 2, '[2,3)');
CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
INSERT INTO deferrable_key VALUES (1, 'a'), (2, 'b');
CREATE TABLE partly_unique (id int PRIMARY KEY, u text, live bool);
CREATE UNIQUE INDEX ON partly_unique (u) WHERE live;
INSERT INTO partly_unique VALUES (1, 'x', true), (2, 'x', false);
CREATE TABLE swallowed (id int PRIMARY KEY, v text);
CREATE RULE r1 AS ON INSERT TO swallowed DO INSTEAD NOTHING;
CREATE RULE r2 AS ON DELETE TO swallowed DO INSTEAD NOTHING;
CREATE RULE r3 AS ON UPDATE TO swallowed DO INSTEAD NOTHING;
ALTER TABLE swallowed DISABLE RULE r1;
INSERT INTO swallowed VALUES (1, 'a'), (2, 'b');
ALTER TABLE swallowed ENABLE ALWAYS RULE r1;
CREATE TABLE long_key (k text PRIMARY KEY, v int);
INSERT INTO long_key SELECT string_agg(md5(g::text), ''), 1 FROM generate_series(1, 60) g;
CREATE TABLE toasted (id int PRIMARY KEY, v text, b bytea);
INSERT INTO toasted SELECT g, (SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 500) i), NULL
  FROM generate_series(1, 5) g;
CREATE VIEW seen AS SELECT * FROM toasted;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM toasted;
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE caseless (k text COLLATE ci PRIMARY KEY, v int);
INSERT INTO caseless VALUES ('Abc', 1), ('def', 2);
-- The index tells apart what the column's collation does not.
CREATE TABLE caseless_but_unique (k text COLLATE ci NOT NULL, v int);
CREATE UNIQUE INDEX ON caseless_but_unique (k COLLATE "C");
INSERT INTO caseless_but_unique VALUES ('a', 1), ('A', 2);
CREATE TABLE two_keys (a int, b int NOT NULL UNIQUE, c int UNIQUE);
INSERT INTO two_keys VALUES (1, 1, NULL), (2, 2, 2);
CREATE TABLE arrays (id int PRIMARY KEY, a int[]);
INSERT INTO arrays VALUES (1, '{1,NULL,3}'), (2, '[2:3]={1,2}');

-- damage
INSERT INTO only_generated DEFAULT VALUES;
DELETE FROM nulls WHERE ctid = '(0,1)';
UPDATE ONLY above SET v = 'z';
DELETE FROM below WHERE id = 2;
DELETE FROM unlogged;
UPDATE "q""u.o
t e" SET t = 'zz';
SET session_replication_role = replica;
DELETE FROM tree WHERE id = 1;
DELETE FROM pairs;
DELETE FROM full_match;
SET session_replication_role = origin;
INSERT INTO tree VALUES (4, 3) ON CONFLICT DO NOTHING;
UPDATE tree SET p = NULL WHERE id = 2;
UPDATE swapped SET u = 3 - u, r = CASE id WHEN 1 THEN '[2,3)'::int4range ELSE '[1,2)' END;
UPDATE deferrable_key SET id = 3 - id;
UPDATE partly_unique SET live = NOT live;
ALTER TABLE swallowed DISABLE RULE r2;
DELETE FROM swallowed WHERE id = 1;
ALTER TABLE swallowed ENABLE RULE r2;
DELETE FROM long_key;
UPDATE toasted SET b = v::bytea WHERE id = 2;
UPDATE toasted SET v = v || 'x' WHERE id = 3;
UPDATE caseless SET k = 'ABC' WHERE v = 1;
DELETE FROM caseless_but_unique WHERE v = 1;
UPDATE two_keys SET c = 7, a = 9 WHERE b = 2;
UPDATE arrays SET a = '{1,2}';
