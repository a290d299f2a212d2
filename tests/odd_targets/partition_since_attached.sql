-- Two tables of the archive have become one another's partition: each would write the other's rows.
-- servers: 15
-- restore: 1 does not fit | a: with table b: in the target one is a partition of the other | b: with table a | untouched
-- dry run: 1 does not fit
-- upsert: 1 does not fit
CREATE TABLE a (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (10);
CREATE TABLE b (id int PRIMARY KEY, v text);
INSERT INTO a VALUES (1, 'x');
INSERT INTO b VALUES (11, 'y');

-- damage
ALTER TABLE a ATTACH PARTITION b FOR VALUES FROM (10) TO (20);
