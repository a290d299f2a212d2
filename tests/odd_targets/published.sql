-- A published table without a replica identity: the server lets nobody update or delete its rows.
-- servers: 13 18
-- restore: 1 table t | replica identity | rolled back
-- dry run: 1 replica identity
CREATE TABLE t (v text);
INSERT INTO t VALUES ('a'), ('b');
CREATE PUBLICATION everything FOR ALL TABLES;

-- damage
INSERT INTO t VALUES ('c');
