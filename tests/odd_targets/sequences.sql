-- Sequences at the ends of their ranges, cycling, counting down, and named so that quoting matters.
-- servers: 13 18
-- as: superuser, owner
CREATE SEQUENCE mx MAXVALUE 9223372036854775807 START 9223372036854775806;
SELECT nextval('mx'), nextval('mx');
CREATE SEQUENCE mn INCREMENT -3 MINVALUE -9223372036854775808 MAXVALUE 0 START -9223372036854775800;
SELECT nextval('mn');
CREATE SEQUENCE cyc MINVALUE 5 MAXVALUE 7 CYCLE;
SELECT nextval('cyc'), nextval('cyc');
CREATE SEQUENCE nc AS smallint START 17;
CREATE SEQUENCE "odd ""n.""
x" CACHE 20;
SELECT nextval('"odd ""n.""
x"');
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (START 10 MINVALUE 3) PRIMARY KEY, x serial);
INSERT INTO t DEFAULT VALUES;

-- damage
SELECT setval('mx', 5, false);
SELECT setval('mn', -4);
SELECT nextval('cyc'), nextval('cyc');
SELECT setval('nc', 18, true);
INSERT INTO t DEFAULT VALUES;
SELECT nextval('"odd ""n.""
x"');
