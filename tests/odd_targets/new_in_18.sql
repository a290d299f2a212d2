-- Virtual columns, and constraints that are not enforced or not valid.
-- servers: 18
-- as: superuser, owner
-- The column is marked NOT NULL, and yet the index is no key: two rows hold NULL.
CREATE TABLE late (id int UNIQUE, v text);
INSERT INTO late VALUES (1, 'a'), (NULL, 'b'), (NULL, 'c');
ALTER TABLE late ADD CONSTRAINT nn NOT NULL id NOT VALID;

CREATE TABLE computed (id int PRIMARY KEY, v int, w int GENERATED ALWAYS AS (v * 2) VIRTUAL,
                       x int GENERATED ALWAYS AS (v * 3) STORED);
INSERT INTO computed (id, v) VALUES (1, 2), (2, 3);
CREATE TABLE lax (id int PRIMARY KEY, p int);
ALTER TABLE lax ADD CONSTRAINT lax_fk FOREIGN KEY (p) REFERENCES computed NOT ENFORCED;
INSERT INTO lax VALUES (1, 77);
ALTER TABLE lax ADD CONSTRAINT negative CHECK (p < 0) NOT ENFORCED;
CREATE TABLE ip (id bigint GENERATED ALWAYS AS IDENTITY, d int, EXCLUDE USING btree (d WITH =, id WITH =))
  PARTITION BY LIST (d);
CREATE TABLE ip1 PARTITION OF ip FOR VALUES IN (1);
CREATE TABLE ip2 PARTITION OF ip DEFAULT;
INSERT INTO ip (d) VALUES (1), (2), (1);

-- damage
DELETE FROM late WHERE id = 1;
UPDATE computed SET v = v + 1;
UPDATE lax SET p = 78;
DELETE FROM ip WHERE d = 1;
INSERT INTO ip (d) VALUES (5);
