-- Tables, indexes and partitions that lie elsewhere stay where they are.
-- servers: 15 18
-- as: superuser, owner
CREATE TABLE t (id int PRIMARY KEY USING INDEX TABLESPACE elsewhere, w int,
                EXCLUDE USING btree (w WITH =) USING INDEX TABLESPACE elsewhere DEFERRABLE) TABLESPACE elsewhere;
INSERT INTO t SELECT g, g FROM generate_series(1, 10) g;
CREATE TABLE p (id int PRIMARY KEY, t int REFERENCES t) PARTITION BY RANGE (id) TABLESPACE elsewhere;
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) TABLESPACE pg_default;
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
INSERT INTO p VALUES (1, 1), (11, 2);

-- damage
UPDATE t SET w = 11 - w;
DELETE FROM p;
