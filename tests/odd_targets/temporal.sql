-- Temporal keys: what the index calls equal is not what tells rows apart. An upsert meets periods that overlap.
-- servers: 18
-- as: superuser, owner
-- needs: btree_gist
-- upsert: 1 emp_pkey
CREATE EXTENSION btree_gist;
CREATE TABLE emp (id int, valid daterange, v text, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
CREATE TABLE job (id int, emp int, valid daterange, FOREIGN KEY (emp, PERIOD valid) REFERENCES emp (id, PERIOD valid));
INSERT INTO emp VALUES (1, '[2020-01-01,2021-01-01)', 'x'), (1, '[2021-01-01,2022-01-01)', 'y');
INSERT INTO job VALUES (1, 1, '[2020-06-01,2021-06-01)');

-- damage
DELETE FROM job;
DELETE FROM emp;
INSERT INTO emp VALUES (1, '[2020-01-01,2020-04-01)', 'x'), (1, '[2020-04-01,2022-01-01)', 'y'), (2, '[2020-01-01,)', 'z');
