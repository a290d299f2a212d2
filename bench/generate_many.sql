-- Many small tables: so many with a primary key and one more index each, and 10 rows, so that none of them is
-- empty. Here it is the catalog and the statements for each table that cost. Run by psql with -v tables=….

SET synchronous_commit = off;

SELECT 'CREATE SCHEMA s' || n FROM generate_series(0, 9) AS n
\gexec
SELECT format(
    'CREATE TABLE s%s.t%s (id integer NOT NULL, name text NOT NULL DEFAULT ''none'', amount numeric(10, 2), data jsonb, '
    'created_at timestamptz NOT NULL DEFAULT now(), CONSTRAINT t%s_pkey PRIMARY KEY (id)); '
    'CREATE INDEX t%s_created_at ON s%s.t%s (created_at); '
    'INSERT INTO s%s.t%s SELECT n, ''row '' || n, n * 1.25, jsonb_build_object(''n'', n), '
    '''2025-01-01Z''::timestamptz + n * interval ''1 hour'' FROM generate_series(1, 10) AS n',
    n % 10, n, n, n, n % 10, n, n % 10, n)
FROM generate_series(1, :tables) AS n
\gexec
VACUUM (FREEZE, ANALYZE);
