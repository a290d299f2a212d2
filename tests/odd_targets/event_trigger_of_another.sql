-- An event trigger that writes into a table whenever DDL runs. An owner cannot hold it, and to stage rows is DDL, too.
-- servers: 13 18
-- as: owner
-- restore: 1 ddl_log | 3 are too many | event trigger | rolled back
-- upsert: 1 ddl_log has 6 rows | event trigger
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'a');
CREATE TABLE ddl_log (at timestamptz DEFAULT now(), tag text);
CREATE FUNCTION logddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
  AS $$ BEGIN INSERT INTO public.ddl_log (tag) VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION logddl();

-- damage
UPDATE t SET v = 'z';
