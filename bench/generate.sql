-- The benchmark's data set: eight tables, 9.8 million rows and about 1.3 GB of COPY text at scale 1, which
-- gzip -6 makes about three and a half times smaller, as it does with the tables of real applications.
-- Run by psql with -v scale=…; every value is computed from the row's number, so each run gives the same rows.

SET synchronous_commit = off;
SET TimeZone = 'UTC';
SET client_min_messages = warning;

-- Evenly spread and repeatable: which of `among` a row gets, for each `salt` another one.
CREATE FUNCTION pick(n bigint, salt bigint, among bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT (hashint8extended(n, salt) & 4611686018427387903) % among $$;

CREATE FUNCTION key_of(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT md5(kind || n)::uuid $$;

-- So many words, from a small vocabulary.
CREATE FUNCTION prose(n bigint, length integer) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    dictionary CONSTANT text[] := '{the,and,for,with,tour,boat,guest,arrived,late,early,morning,evening,harbour,island,ticket,refund,paid,cancelled,weather,rain,sunny,group,family,child,adult,guide,bus,train,station,hotel,room,breakfast,lunch,dinner,please,call,back,customer,asked,about,date,change,seats,window,front,price,discount,summer,winter,season,booked,confirmed,waiting,list,email,sent,phone,number,street,city,country,museum,castle,glacier}';
    bits bigint := hashint8extended(n, 0);
    result text := '';
BEGIN
    FOR position IN 1..length LOOP
        result := result || dictionary[(bits & 63) + 1] || ' ';
        bits := CASE position % 10 WHEN 0 THEN hashint8extended(n, position) ELSE bits >> 6 END;
    END LOOP;
    RETURN result;
END $$;

-- Narrow: mostly per-row work.
CREATE TABLE readings (
    sensor_id integer NOT NULL,
    taken_at  timestamptz NOT NULL,
    value     numeric(7, 2) NOT NULL
);
INSERT INTO readings
SELECT n % 500 + 1, '2024-01-01'::timestamptz + n / 500 * interval '1 minute', (pick(n, 1, 90000) + 100000) / 100.0
FROM generate_series(1, round(5000000 * :scale)::bigint) AS n;

CREATE TABLE customers (
    id         uuid PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    full_name  text NOT NULL,
    city       text,
    tags       text[],
    settings   jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO customers
SELECT key_of('customer', n), 'guest.' || n || '@example.com',
       initcap(prose(n, 2)),
       CASE WHEN pick(n, 3, 10) > 0 THEN (ARRAY['Zürich', 'Berlin', 'Wien', 'Milano', 'Lyon'])[pick(n, 4, 5) + 1] END,
       ARRAY[(ARRAY['vip', 'newsletter', 'corporate'])[pick(n, 5, 3) + 1]],
       jsonb_build_object('theme', (ARRAY['light', 'dark'])[pick(n, 6, 2) + 1], 'newsletter', pick(n, 7, 2) = 0,
                          'locale', (ARRAY['de_CH', 'en_GB', 'fr_FR'])[pick(n, 8, 3) + 1]),
       '2023-01-01'::timestamptz + n * interval '307.123 seconds'
FROM generate_series(1, round(200000 * :scale)::bigint) AS i (n);

-- Wide in indexes: what makes a restore slow.
CREATE TABLE orders (
    id           uuid PRIMARY KEY,
    customer_id  uuid NOT NULL,
    reference    text NOT NULL UNIQUE,
    status       text NOT NULL,
    currency     char(3) NOT NULL,
    total        numeric(12, 2) NOT NULL,
    tax          numeric(12, 4) NOT NULL,
    note         text,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
INSERT INTO orders
SELECT key_of('order', n), key_of('customer', pick(n, 1, round(200000 * :scale)::bigint) + 1),
       'ORD-' || lpad(n::text, 9, '0'),
       (ARRAY['draft', 'paid', 'paid', 'paid', 'shipped', 'cancelled'])[pick(n, 2, 6) + 1],
       (ARRAY['CHF', 'EUR', 'EUR'])[pick(n, 3, 3) + 1],
       (pick(n, 4, 40000) + 500) / 100.0, (pick(n, 4, 40000) + 500) * 0.00077,
       CASE WHEN pick(n, 5, 4) = 0 THEN prose(n, 6) END,
       '2023-06-01'::timestamptz + n * interval '41 seconds',
       '2023-06-02'::timestamptz + n * interval '41 seconds'
FROM generate_series(1, round(1500000 * :scale)::bigint) AS n;
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (created_at);
CREATE INDEX ON orders (status, updated_at);

CREATE TABLE order_items (
    order_id    uuid NOT NULL,
    line        smallint NOT NULL,
    sku         text NOT NULL,
    quantity    integer NOT NULL,
    unit_price  numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
INSERT INTO order_items
SELECT key_of('order', n / 2 + 1), n % 2 + 1, 'SKU-' || lpad(pick(n, 1, 3000)::text, 6, '0'), pick(n, 2, 9) + 1,
       (pick(n, 1, 3000) * 13 % 9000 + 99) / 100.0
FROM generate_series(0, round(1200000 * :scale)::bigint - 1) AS n;

-- Documents: what escaping and JSON cost.
CREATE TABLE events (
    id          bigint PRIMARY KEY,
    order_id    uuid,
    happened_at timestamptz NOT NULL,
    kind        text NOT NULL,
    payload     jsonb NOT NULL
);
INSERT INTO events
SELECT n, CASE WHEN pick(n, 1, 3) > 0 THEN key_of('order', pick(n, 2, round(1500000 * :scale)::bigint) + 1) END,
       '2024-01-01'::timestamptz + n * interval '23.517 seconds',
       (ARRAY['page_view', 'search', 'add_to_cart', 'checkout', 'payment'])[pick(n, 3, 5) + 1],
       jsonb_build_object(
           'path', '/tours/' || (ARRAY['glacier', 'harbour', 'museum', 'forest'])[pick(n, 4, 4) + 1] || '/' || pick(n, 5, 900),
           'agent', (ARRAY['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36',
                           'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148',
                           'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0'])[pick(n, 6, 3) + 1],
           'ms', pick(n, 7, 2500), 'ip', '10.' || pick(n, 8, 250) || '.' || pick(n, 9, 250) || '.' || pick(n, 10, 250),
           'session', key_of('session', pick(n, 13, round(400000 * :scale)::bigint) + 1), 'query', prose(n, 5),
           'flags', jsonb_build_array(pick(n, 11, 2) = 0, NULL, pick(n, 12, 10)))
FROM generate_series(1, round(1200000 * :scale)::bigint) AS n;

CREATE TABLE sessions (
    id          uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    token       bytea NOT NULL,
    address     inet NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz
);
INSERT INTO sessions
SELECT key_of('session', n), key_of('customer', pick(n, 1, round(200000 * :scale)::bigint) + 1),
       decode(md5('token' || n), 'hex'), '10.0.0.0'::inet + pick(n, 2, 65000),
       '2025-01-01'::timestamptz + n * interval '11.01 seconds',
       CASE WHEN pick(n, 3, 5) > 0 THEN '2025-01-01'::timestamptz + n * interval '11.01 seconds' + interval '20 minutes' END
FROM generate_series(1, round(400000 * :scale)::bigint) AS n;

CREATE TABLE audit_logs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    logged_at   timestamptz NOT NULL,
    actor       text NOT NULL,
    old_row     jsonb,
    new_row     jsonb
);
INSERT INTO audit_logs (logged_at, actor, old_row, new_row)
SELECT updated_at, (ARRAY['api', 'desk', 'import'])[pick(n, 1, 3) + 1], to_jsonb(o),
       to_jsonb(o) || jsonb_build_object('status', 'cancelled', 'updated_at', updated_at + interval '1 hour')
FROM (SELECT orders.*, row_number() OVER (ORDER BY reference) AS n FROM orders
      WHERE reference < 'ORD-' || lpad((round(200000 * :scale)::bigint + 1)::text, 9, '0')) AS o;

-- Long texts with line breaks and tabs, which COPY escapes.
CREATE TABLE messages (
    id          integer PRIMARY KEY,
    customer_id uuid NOT NULL,
    subject     text NOT NULL,
    body        text NOT NULL,
    sent_at     timestamptz NOT NULL
);
INSERT INTO messages
SELECT n, key_of('customer', pick(n, 1, round(200000 * :scale)::bigint) + 1), prose(n, 4),
       E'Dear guest,\n\n\t' || prose(n, 40) || E'\n\n' || prose(n + 1000000000, 100) || E'\r\nC:\\tours\\' || n,
       '2025-02-01'::timestamptz + n * interval '97 seconds'
FROM generate_series(1, round(100000 * :scale)::bigint) AS n;

DROP FUNCTION pick(bigint, bigint, bigint);
DROP FUNCTION key_of(text, bigint);
DROP FUNCTION prose(bigint, integer);

-- Frozen and analysed, so that no run pays for the first reading.
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
