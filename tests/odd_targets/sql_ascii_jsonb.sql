-- jsonb in a database that takes any bytes: what is not UTF-8 cannot stand in the archive as JSON, and yet comes back.
-- servers: 15
-- encoding: SQL_ASCII
CREATE TABLE t (id int PRIMARY KEY, j jsonb);
INSERT INTO t VALUES (1, '{"é": 1}'), (2, E'{"caf\xe9": [1, 2]}'), (3, E'"\xff"');

-- damage
UPDATE t SET j = 'null';
