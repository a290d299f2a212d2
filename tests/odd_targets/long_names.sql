-- Names of 63 bytes for everything, of which others differ only in the last byte: whoever adds to a name loses it.
-- servers: 15
-- as: superuser, owner
DO $$ DECLARE x text := repeat('x', 62); e text := repeat('é', 31); BEGIN
  EXECUTE format('CREATE SCHEMA %I; GRANT ALL ON SCHEMA %1$I TO shopkeeper', x || 's');
  EXECUTE format('CREATE TABLE %I.%I (%I int CONSTRAINT %I PRIMARY KEY, %I int GENERATED ALWAYS AS IDENTITY)',
                 x || 's', x || 't', x || '1', x || 'k', x || '2');
  EXECUTE format('CREATE TABLE %I (%I int CONSTRAINT %I PRIMARY KEY, %I int CONSTRAINT %I REFERENCES %I.%I ON DELETE CASCADE)',
                 e || 'c', x || '1', e || 'p', x || '2', e || 'f', x || 's', x || 't');
  EXECUTE format('CREATE SEQUENCE %I', e || 'q');
  EXECUTE format('CREATE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION SQLSTATE ''''XX001''''; END''', x);
  EXECUTE format('INSERT INTO %I.%I VALUES (1), (2)', x || 's', x || 't');
  EXECUTE format('INSERT INTO %I VALUES (1, 1), (2, 2)', e || 'c');
  EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION %I()', e || 'g', e || 'c', x);
  EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', e || 'c', e || 'g');
  EXECUTE format('COMMENT ON CONSTRAINT %I ON %I IS %L', e || 'f', e || 'c', x);
END $$;

-- damage
DO $$ DECLARE x text := repeat('x', 62); e text := repeat('é', 31); BEGIN
  SET session_replication_role = replica;
  EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', e || 'c');
  EXECUTE format('DELETE FROM %I.%I WHERE %I = 1', x || 's', x || 't', x || '1');
  EXECUTE format('DELETE FROM %I WHERE %I = 1', e || 'c', x || '1');
  EXECUTE format('INSERT INTO %I VALUES (3, 2)', e || 'c');
  EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', e || 'c', e || 'g');
  PERFORM nextval(format('%I', e || 'q'));
END $$;
