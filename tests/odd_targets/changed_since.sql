-- Structures that changed in ways which still take the rows: an identity that must be overridden, other keys, columns
-- in another order, partitioned by now or no longer, defaults and NOT NULL.
-- servers: 13 18
-- as: superuser, owner
-- rows: SELECT string_agg(r, ' ' ORDER BY r) FROM (SELECT format('identity %s %s', id, v) FROM identity UNION ALL SELECT format('order %s %s', id, v) FROM reordered UNION ALL SELECT format('split %s %s', id, v) FROM split UNION ALL SELECT format('joined %s %s', id, v) FROM joined UNION ALL SELECT format('keyed %s %s', id, v) FROM keyed UNION ALL SELECT format('unkeyed %s %s', id, v) FROM unkeyed) AS x(r)
CREATE TABLE identity (id int PRIMARY KEY, v text);
CREATE TABLE reordered (id int PRIMARY KEY, v text);
CREATE TABLE joined (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE joined1 PARTITION OF joined FOR VALUES FROM (0) TO (3);
CREATE TABLE joined2 PARTITION OF joined FOR VALUES FROM (3) TO (6);
CREATE TABLE split (id int PRIMARY KEY, v text);
CREATE TABLE keyed (id int, v text);
CREATE TABLE unkeyed (id int PRIMARY KEY, v text);
INSERT INTO identity VALUES (1, 'a'), (2, 'b');
INSERT INTO reordered VALUES (1, 'a'), (2, 'b');
INSERT INTO joined VALUES (1, 'a'), (4, 'b'), (4, 'b');
INSERT INTO split VALUES (1, 'a'), (4, 'b');
INSERT INTO keyed VALUES (1, 'a'), (2, 'b');
INSERT INTO unkeyed VALUES (1, 'a'), (2, 'b');

-- damage
UPDATE identity SET v = 'z' WHERE id = 1;
DELETE FROM identity WHERE id = 2;
ALTER TABLE identity ALTER id ADD GENERATED ALWAYS AS IDENTITY (START 100);
ALTER TABLE identity ALTER v SET NOT NULL;
DROP TABLE reordered;
CREATE TABLE reordered (junk int, v text DEFAULT 'none', id int PRIMARY KEY);
ALTER TABLE reordered DROP junk;
INSERT INTO reordered VALUES ('z', 1), ('c', 3);
DROP TABLE joined;
CREATE TABLE joined (id int, v text);
INSERT INTO joined VALUES (1, 'a'), (4, 'b'), (9, 'c');
DROP TABLE split;
CREATE TABLE split (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE split1 PARTITION OF split FOR VALUES FROM (0) TO (3);
CREATE TABLE split2 PARTITION OF split DEFAULT;
INSERT INTO split VALUES (1, 'z'), (7, 'y');
UPDATE keyed SET v = 'z' WHERE id = 2;
ALTER TABLE keyed ADD PRIMARY KEY (id);
ALTER TABLE unkeyed DROP CONSTRAINT unkeyed_pkey;
DELETE FROM unkeyed WHERE id = 2;
