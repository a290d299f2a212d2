-- Policies that hide rows even from the owner appear after the backup: the rows that he does not see must neither be
-- doubled nor taken for deleted.
-- servers: 15
-- as: owner
-- restore: 5 row-level security would hide rows | t (owner shopkeeper, FORCE) | untouched
-- dry run: 5 row-level security
-- upsert: 5 row-level security
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'a'), (2, 'b');

-- damage
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (v = 'a');
UPDATE t SET v = 'z' WHERE id = 2;
