-- A role whose settings are made for a cautious reporting job: read only, serializable, impatient, printing values
-- in its own way.
-- servers: 13 18
-- as: owner
CREATE TABLE t (id serial PRIMARY KEY, v text, b bytea DEFAULT '\x00ff', at timestamptz DEFAULT '2020-02-01 00:00+00');
INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20000);
DO $$ DECLARE setting text; BEGIN
  FOREACH setting IN ARRAY ARRAY['default_transaction_read_only = on', 'default_transaction_isolation = serializable',
    'default_transaction_deferrable = on', 'statement_timeout = 20', 'idle_in_transaction_session_timeout = 20',
    'lock_timeout = 20', 'bytea_output = escape', 'datestyle = ''German''']
  LOOP EXECUTE format('ALTER ROLE shopkeeper IN DATABASE %I SET ', current_database()) || setting; END LOOP;
  IF current_setting('server_version_num')::int >= 170000 THEN
    EXECUTE format('ALTER ROLE shopkeeper IN DATABASE %I SET transaction_timeout = 60', current_database());
  END IF;
END $$;

-- damage
UPDATE t SET v = 'y' WHERE id % 2 = 0;
DELETE FROM t WHERE id % 3 = 0;
