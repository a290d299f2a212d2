-- A character of the database's encoding that Unicode does not have: it cannot be archived, and is not altered.
-- servers: 15
-- encoding: EUC_JP
-- backup: 1 table t | has no equivalent in encoding
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'fine'), (2, E'\xa2\xaf');

-- damage
SELECT 1;
