-- Many small tables: 10,000 with a primary key and one more index each, without rows. Here it is the
-- catalog that costs.

SELECT 'CREATE SCHEMA s' || n FROM generate_series(0, 9) AS n
\gexec
SELECT format(
    'CREATE TABLE s%s.t%s (id integer NOT NULL, name text NOT NULL DEFAULT ''none'', amount numeric(10, 2), data jsonb, '
    'created_at timestamptz NOT NULL DEFAULT now(), CONSTRAINT t%s_pkey PRIMARY KEY (id)); '
    'CREATE INDEX t%s_created_at ON s%s.t%s (created_at)', n % 10, n, n, n, n % 10, n)
FROM generate_series(1, 10000) AS n
\gexec
VACUUM (FREEZE, ANALYZE);
