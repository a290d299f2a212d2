-- An event trigger that writes into a table whenever DDL runs. A superuser's restore runs none.
-- servers: 13 18
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'a');
CREATE TABLE ddl_log (at timestamptz DEFAULT now(), tag text);
CREATE FUNCTION logddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
  AS $$ BEGIN INSERT INTO public.ddl_log (tag) VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION logddl();

-- damage
UPDATE t SET v = 'z';
