-- Constraints that the server puts off to the commit, when it could no longer say which table was to blame.
-- servers: 13 18
-- as: superuser, owner
CREATE TABLE u (id int PRIMARY KEY, v int UNIQUE DEFERRABLE INITIALLY DEFERRED, w int,
                EXCLUDE USING btree (w WITH =) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO u VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3);
CREATE TABLE f (id int PRIMARY KEY, u int REFERENCES u DEFERRABLE INITIALLY DEFERRED);
INSERT INTO f VALUES (1, 1);

-- damage
UPDATE u SET v = 4 - v, w = 4 - w;
