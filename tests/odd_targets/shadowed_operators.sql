-- Operators of the user's stand before the built-in ones in the role's search path. Whoever compares rows without
-- naming the operator's schema calls them, and they raise.
-- servers: 13 18
-- as: superuser, owner
-- options: -c search_path=evil,pg_catalog,public
CREATE TABLE t (id int PRIMARY KEY, v text, n bigint);
CREATE TABLE k (a int, b text);
CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t, u int UNIQUE DEFERRABLE);
INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 5) g;
INSERT INTO k VALUES (1, 'x'), (1, 'x');
INSERT INTO c VALUES (1, 1, 1), (2, 2, 2);
CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'fired'; END $$;
CREATE TRIGGER r AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION boom();
ALTER TABLE t ENABLE ALWAYS TRIGGER r;
CREATE SEQUENCE s;
SELECT nextval('s');
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO public;
CREATE FUNCTION evil.text(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION evil.oid(oid, oid) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION evil.int8(int8, int8) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION evil.one("char", "char") RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION evil.int84(int8, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION evil.int2(int2, int2) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION evil.int4(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.text);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.text);
CREATE OPERATOR evil.~ (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.text);
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, PROCEDURE = evil.oid);
CREATE OPERATOR evil.= (LEFTARG = int8, RIGHTARG = int8, PROCEDURE = evil.int8);
CREATE OPERATOR evil.= (LEFTARG = "char", RIGHTARG = "char", PROCEDURE = evil.one);
CREATE OPERATOR evil.>= (LEFTARG = int8, RIGHTARG = int4, PROCEDURE = evil.int84);
CREATE OPERATOR evil.> (LEFTARG = int8, RIGHTARG = int4, PROCEDURE = evil.int84);
CREATE OPERATOR evil.= (LEFTARG = int2, RIGHTARG = int2, PROCEDURE = evil.int2);
CREATE OPERATOR evil.= (LEFTARG = int4, RIGHTARG = int4, PROCEDURE = evil.int4);

-- damage
SET search_path = pg_catalog, public;
SET session_replication_role = replica;
ALTER TABLE t DISABLE TRIGGER r;
UPDATE t SET v = 'z' WHERE id = 3;
DELETE FROM t WHERE id = 4;
ALTER TABLE t ENABLE ALWAYS TRIGGER r;
DELETE FROM k WHERE ctid = '(0,1)';
UPDATE c SET u = 3 - u;
SELECT nextval('s');
