-- One partition of a table lives on another server by now: it can be neither locked nor put back.
-- servers: 15
-- needs: postgres_fdw
-- restore: 1 does not fit | a: its partition a2 is a foreign table | untouched
-- dry run: 1 does not fit
-- upsert: 1 does not fit
CREATE EXTENSION postgres_fdw;
CREATE TABLE a (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (10);
INSERT INTO a VALUES (1, 'x');

-- damage
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE a2 PARTITION OF a FOR VALUES FROM (10) TO (20) SERVER elsewhere;
