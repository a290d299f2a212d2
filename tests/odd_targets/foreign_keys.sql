-- Foreign keys whose two ends compare differently, that come from above, or that hang on a single partition.
-- servers: 13 15 18
-- as: superuser, owner
CREATE TABLE parent (code text COLLATE "C" PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, p text COLLATE "POSIX" REFERENCES parent);
INSERT INTO parent VALUES ('a'), ('b');
INSERT INTO child VALUES (1, 'a'), (2, 'b');

CREATE TABLE par (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE par1 PARTITION OF par FOR VALUES FROM (0) TO (10);
CREATE TABLE par2 PARTITION OF par FOR VALUES FROM (10) TO (20);
CREATE TABLE c (id int, p int) PARTITION BY RANGE (id);
CREATE TABLE c1 (id int, p int);
ALTER TABLE c ADD CONSTRAINT root_fk FOREIGN KEY (p) REFERENCES par ON DELETE CASCADE;
-- Attached, it keeps its name and becomes the root's.
ALTER TABLE c1 ADD CONSTRAINT my_own_name FOREIGN KEY (p) REFERENCES par ON DELETE CASCADE;
ALTER TABLE c ATTACH PARTITION c1 FOR VALUES FROM (0) TO (10);
CREATE TABLE c2 PARTITION OF c FOR VALUES FROM (10) TO (20);
COMMENT ON CONSTRAINT root_fk ON c IS 'it''s';
CREATE TABLE leafref (id int PRIMARY KEY, p int REFERENCES par1 (id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO par VALUES (1), (2), (11);
INSERT INTO c VALUES (1, 1), (11, 11);
INSERT INTO leafref VALUES (1, 2);

-- damage
DELETE FROM child WHERE id = 2;
DELETE FROM parent WHERE code = 'b';
DELETE FROM leafref;
DELETE FROM par WHERE id IN (1, 2);
INSERT INTO par VALUES (3);
INSERT INTO c VALUES (5, 3);
