-- Keys whose equality is not the type's own.
-- servers: 13 18
CREATE FUNCTION abs_lt(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1) < abs($2); END';
CREATE FUNCTION abs_le(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1) <= abs($2); END';
CREATE FUNCTION abs_eq(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1) = abs($2); END';
CREATE FUNCTION abs_ge(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1) >= abs($2); END';
CREATE FUNCTION abs_gt(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN abs($1) > abs($2); END';
CREATE FUNCTION abs_cmp(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT pg_catalog.btint4cmp(abs($1), abs($2))';
CREATE OPERATOR |<| (LEFTARG = int, RIGHTARG = int, PROCEDURE = abs_lt);
CREATE OPERATOR |<=| (LEFTARG = int, RIGHTARG = int, PROCEDURE = abs_le);
-- Neither HASHES nor MERGES: no FULL JOIN can use it.
CREATE OPERATOR |=| (LEFTARG = int, RIGHTARG = int, PROCEDURE = abs_eq, COMMUTATOR = |=|);
CREATE OPERATOR |>=| (LEFTARG = int, RIGHTARG = int, PROCEDURE = abs_ge);
CREATE OPERATOR |>| (LEFTARG = int, RIGHTARG = int, PROCEDURE = abs_gt);
CREATE OPERATOR CLASS abs_ops FOR TYPE int USING btree AS
  OPERATOR 1 |<|, OPERATOR 2 |<=|, OPERATOR 3 |=|, OPERATOR 4 |>=|, OPERATOR 5 |>|, FUNCTION 1 abs_cmp(int, int);
CREATE TABLE by_size (id int NOT NULL, v text);
CREATE UNIQUE INDEX ON by_size (id abs_ops);
INSERT INTO by_size VALUES (1, 'a'), (-2, 'b');

-- damage
UPDATE by_size SET id = -1 WHERE id = 1;
DELETE FROM by_size WHERE id = -2;
INSERT INTO by_size VALUES (3, 'c');
