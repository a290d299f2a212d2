-- Keys that are equal without being the same, and values that no ordinary comparison tells apart.
-- servers: 13 18
-- as: superuser, owner
-- needs: citext
CREATE EXTENSION citext;
CREATE TABLE floats (k float8 PRIMARY KEY, v int);
INSERT INTO floats VALUES ('NaN', 1), ('-0', 2), ('Infinity', 3), ('-Infinity', 4), (0.1 + 0.2::float8, 5);
CREATE TABLE numerics (k numeric PRIMARY KEY, v numeric);
INSERT INTO numerics VALUES (1.0, 1), (2.00, 2.0), ('NaN', 'NaN'), (3, 3.000);
CREATE TABLE dates (k timestamptz, d date, PRIMARY KEY (k, d));
INSERT INTO dates VALUES ('infinity', '-infinity'), ('-infinity', 'infinity'), ('4713-01-01 BC', '5874897-12-31');
CREATE TYPE pair AS (a numeric, b text);
CREATE TABLE composites (k pair PRIMARY KEY, v int);
INSERT INTO composites VALUES (ROW(1.0, 'x'), 1), (ROW(2, NULL), 2), (ROW(NULL, NULL), 3);
CREATE TABLE arrays (k numeric[] PRIMARY KEY, v int);
INSERT INTO arrays VALUES ('{1.0,NULL}', 1), ('{}', 2), ('[0:1]={1,2}', 3);
CREATE TABLE jsons (k jsonb PRIMARY KEY, v int);
INSERT INTO jsons VALUES ('{"a": 1.0}', 1), ('null', 2), ('[1e2]', 3), ('"\u00e9"', 4);
CREATE TABLE caseless (k citext PRIMARY KEY, v int);
INSERT INTO caseless VALUES ('Abc', 1), ('DEF', 2);
CREATE TABLE padded (k char(5) PRIMARY KEY, b bit(3), i interval, t timetz);
INSERT INTO padded VALUES ('a', '101', '1 day', '12:00+01'), ('b ', '000', '24:00', '11:00+00');
CREATE TABLE intervals (k interval PRIMARY KEY, v int);
INSERT INTO intervals VALUES ('1 day', 1), ('1 mon', 2);
CREATE TABLE oids (k oid PRIMARY KEY, b bytea UNIQUE, u uuid, n name);
INSERT INTO oids VALUES (4294967295, '\x00', '00000000-0000-0000-0000-000000000000', '');
CREATE TABLE long_numbers (k numeric PRIMARY KEY, v int);
INSERT INTO long_numbers VALUES (('1' || repeat('0', 1000) || '.' || repeat('3', 200))::numeric, 1), (-0.0000000000, 2);

-- damage
UPDATE floats SET k = '0' WHERE v = 2;
UPDATE floats SET v = 9 WHERE v IN (1, 3);
DELETE FROM floats WHERE v IN (4, 5);
UPDATE numerics SET k = 1.00 WHERE k = 1;
UPDATE numerics SET v = 2.000 WHERE k = 2;
DELETE FROM numerics WHERE k = 'NaN';
INSERT INTO numerics VALUES (0.10, 0);
DELETE FROM dates WHERE k = 'infinity';
UPDATE composites SET k = ROW(1.00, 'x') WHERE v = 1;
UPDATE composites SET v = 9 WHERE v > 1;
UPDATE arrays SET k = '{1.00,NULL}' WHERE v = 1;
UPDATE arrays SET v = 9 WHERE v > 1;
UPDATE jsons SET k = '{"a": 1.00}' WHERE v = 1;
UPDATE jsons SET v = 9 WHERE v > 1;
UPDATE caseless SET k = 'aBC' WHERE v = 1;
DELETE FROM caseless WHERE v = 2;
UPDATE padded SET i = '24:00', t = '11:00+00' WHERE k = 'a';
UPDATE padded SET i = '1 day' WHERE k = 'b';
UPDATE intervals SET k = '24:00' WHERE v = 1;
UPDATE intervals SET k = '30 days' WHERE v = 2;
UPDATE oids SET b = '\x', n = 'x';
DELETE FROM long_numbers;
