-- Domains that check by a function which finds its helper by the search path; domains over domains, in arrays and
-- composites; and one whose check old rows do not meet.
-- servers: 13 18
CREATE FUNCTION inner_ok(text) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT $1 <> 'bad' $$;
CREATE FUNCTION ok(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN inner_ok($1); END $$;
CREATE DOMAIN mail AS varchar(20) NOT NULL CHECK (ok(VALUE));
CREATE DOMAIN mail2 AS mail;
CREATE TYPE comp AS (a mail, b int);
CREATE TABLE t (id mail PRIMARY KEY, m mail2, arr mail[], c comp,
                g text GENERATED ALWAYS AS (CASE WHEN ok(m::text) THEN upper(m::text) END) STORED, CHECK (ok(m::text)));
INSERT INTO t (id, m, arr, c) VALUES ('a', 'b', ARRAY['x', 'y']::mail[], ROW('q', 1)::comp), ('b', 'c', NULL, NULL);

CREATE DOMAIN d AS int;
CREATE TABLE old (id int PRIMARY KEY, x d);
INSERT INTO old VALUES (1, -5), (2, 7);
ALTER DOMAIN d ADD CONSTRAINT pos CHECK (VALUE > 0) NOT VALID;

-- damage
UPDATE t SET m = 'z' WHERE id = 'a';
DELETE FROM t WHERE id = 'b';
UPDATE old SET x = 8 WHERE id = 2;
