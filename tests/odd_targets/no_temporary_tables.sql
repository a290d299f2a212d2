-- Nobody may create temporary tables, in which archived rows are staged: that is told with the other privileges.
-- servers: 15
-- as: owner
-- restore: 5 role shopkeeper lacks privileges | database no_temporary_tables_owner (TEMPORARY) | untouched
-- dry run: 5 TEMPORARY
-- upsert: 5 TEMPORARY
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'a');
DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM public', current_database()); END $$;

-- damage
UPDATE t SET v = 'z';
