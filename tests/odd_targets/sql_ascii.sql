-- A database that takes any bytes for text: Latin-1 beside UTF-8 beside neither.
-- servers: 13 18
-- encoding: SQL_ASCII
CREATE TABLE t (id int PRIMARY KEY, v text, j json, a text[]);
INSERT INTO t VALUES (1, 'é', '{"é": 1}', '{é}'), (2, E'caf\xe9', E'{"caf\xe9": 2}', ARRAY[E'\xff\xfe', E'\xe9"\\']),
  (3, E'\xc3', NULL, NULL), (4, E'\xed\xa0\x80\x01\t\n\\N', NULL, '{}');
CREATE TABLE odd_key (k text PRIMARY KEY, v int);
INSERT INTO odd_key VALUES (E'\xe9', 1), (E'\xc3\xa9', 2), (E'\xe9\xe9', 3);
CREATE TABLE keyless (v text);
INSERT INTO keyless VALUES (E'\xf8'), (E'\xf8'), (NULL);

-- damage
UPDATE t SET v = 'damaged' WHERE id > 1;
UPDATE t SET a = NULL;
DELETE FROM t WHERE id = 4;
DELETE FROM odd_key WHERE v = 3;
UPDATE odd_key SET k = E'\xea' WHERE v = 1;
DELETE FROM keyless WHERE ctid = '(0,1)';
