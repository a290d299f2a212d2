-- Foreign keys that a superuser has switched off: an owner, who takes them off and on again, could only switch them on.
-- servers: 15
-- as: owner
-- restore: 5 child | switched off | superuser
-- dry run: 5 switched off
-- upsert: 5 switched off
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1), (2, 2);
ALTER TABLE child DISABLE TRIGGER ALL;

-- damage
DELETE FROM child WHERE id = 1;
