-- A database without a single table.
-- servers: 13 18
SELECT 1;

-- damage
SELECT 1;
