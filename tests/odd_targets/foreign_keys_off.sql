-- Foreign keys that a superuser has switched off stay so.
-- servers: 13 18
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1), (2, 2);
ALTER TABLE child DISABLE TRIGGER ALL;

-- damage
DELETE FROM child WHERE id = 1;
