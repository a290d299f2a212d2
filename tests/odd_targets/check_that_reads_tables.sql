-- A check that reads another table, by an unqualified name: it holds only if that table is filled first.
-- servers: 15
CREATE TABLE z (id int PRIMARY KEY);
CREATE FUNCTION has(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT 1 FROM z WHERE id = $1)';
CREATE TABLE a (id int PRIMARY KEY, z int CHECK (has(z)));
INSERT INTO z VALUES (1);
INSERT INTO a VALUES (1, 1);

-- damage
DELETE FROM a;
DELETE FROM z;
