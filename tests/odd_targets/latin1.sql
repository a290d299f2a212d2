-- A database that is not UTF-8: the server converts, and every character has a place in the archive.
-- servers: 13 18
-- encoding: LATIN1
CREATE TABLE "café" (id int PRIMARY KEY);
CREATE TABLE "Füße" ("größe" text PRIMARY KEY, j jsonb, v varchar(3));
INSERT INTO "Füße" VALUES ('é', '{"ü": "ß"}', 'äöü'), (E'\xff\x80\xa0', NULL, 'ÿÿÿ');
CREATE TABLE keyless (v text);
INSERT INTO keyless VALUES ('ñ'), ('ñ'), (E'a\\\tb\x85');

-- damage
UPDATE "Füße" SET v = 'aou', j = '{}' WHERE v = 'äöü';
DELETE FROM "Füße" WHERE v = 'ÿÿÿ';
DELETE FROM keyless WHERE ctid = '(0,1)';
