-- A role that may only read: it can back up, and a restore says all that it lacks before it begins.
-- servers: 15
-- as: reader
-- restore: 5 role visitor lacks privileges | t (INSERT, DELETE, UPDATE) | sequence s (UPDATE) | untouched
-- dry run: 5 lacks privileges
-- upsert: 5 lacks privileges
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'a');
CREATE SEQUENCE s;

-- damage
UPDATE t SET v = 'z';
