-- Columns whose kind or type has changed: all are named, nothing is cut to fit.
-- servers: 15
-- restore: 1 does not fit | was_generated: column "g" is not in the archive | is_generated: column "g" is generated in the target | wider: column "v" is bigint in the target | shorter: column "v" is character varying(3) in the target, text | seen: | untouched
-- dry run: 1 does not fit
-- upsert: 1 does not fit
CREATE TABLE was_generated (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED);
CREATE TABLE is_generated (id int PRIMARY KEY, g int);
CREATE TABLE wider (id int PRIMARY KEY, v int);
CREATE TABLE shorter (id int PRIMARY KEY, v text);
CREATE TABLE seen (id int PRIMARY KEY);
INSERT INTO was_generated VALUES (1);
INSERT INTO is_generated VALUES (1, 2);
INSERT INTO wider VALUES (1, 1);
INSERT INTO shorter VALUES (1, 'long');

-- damage
ALTER TABLE was_generated ALTER g DROP EXPRESSION;
ALTER TABLE is_generated DROP g;
ALTER TABLE is_generated ADD g int GENERATED ALWAYS AS (id + 1) STORED;
ALTER TABLE wider ALTER v TYPE bigint;
UPDATE shorter SET v = 'cut';
ALTER TABLE shorter ALTER v TYPE varchar(3);
DROP TABLE seen;
CREATE VIEW seen AS SELECT 1 AS id;
