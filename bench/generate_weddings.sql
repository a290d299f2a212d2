-- A wedding business: 1,000 rows for each wedding, in six tables, tied by foreign keys that have indexes, and spread over the
-- tables as they come in time: guests of one wedding stand between those of others. Run by psql with -v weddings=….

SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';

CREATE TABLE planners (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE weddings (id integer PRIMARY KEY, planner_id integer NOT NULL, title text NOT NULL, held_on date NOT NULL);
CREATE TABLE seating (id integer PRIMARY KEY, wedding_id integer NOT NULL, name text NOT NULL, seats smallint NOT NULL);
CREATE TABLE guests (id integer PRIMARY KEY, wedding_id integer NOT NULL, seating_id integer, brings_id integer,
    name text NOT NULL, email text, note text);
CREATE TABLE invitations (id integer PRIMARY KEY, wedding_id integer NOT NULL, guest_id integer NOT NULL,
    sent_at timestamptz NOT NULL);
CREATE TABLE rsvps (id integer PRIMARY KEY, invitation_id integer NOT NULL, guest_id integer NOT NULL, coming boolean NOT NULL,
    answered_at timestamptz NOT NULL);
CREATE TABLE timeline (id integer PRIMARY KEY, wedding_id integer NOT NULL, starts_at timestamptz NOT NULL, what text NOT NULL);

-- Row n of a table is of wedding n % weddings: 40 tables, 350 guests, 180 invitations, 350 rsvps, 79 entries each.
INSERT INTO planners SELECT n, 'planner ' || n FROM generate_series(0, 99) AS n;
INSERT INTO weddings SELECT n, n % 100, 'wedding ' || n, date '2026-01-01' + n % 700 FROM generate_series(0, :weddings - 1) AS n;
INSERT INTO seating SELECT n, n % :weddings, 'table ' || n / :weddings, 10 FROM generate_series(0, 40 * :weddings - 1) AS n;
INSERT INTO guests
SELECT n, n % :weddings, n % :weddings + n / :weddings % 40 * :weddings, CASE WHEN n >= 300 * :weddings THEN n - 100 * :weddings END,
       'guest ' || n, 'guest' || n || '@mail.example', repeat('x', n % 60)
  FROM generate_series(0, 350 * :weddings - 1) AS n;
INSERT INTO invitations
SELECT n, n % :weddings, n, timestamptz '2025-06-01Z' + n % 100000 * interval '1 minute' FROM generate_series(0, 180 * :weddings - 1) AS n;
INSERT INTO rsvps
SELECT n, n % (180 * :weddings), n, n % 5 > 0, timestamptz '2025-07-01Z' + n % 100000 * interval '1 minute'
  FROM generate_series(0, 350 * :weddings - 1) AS n;
INSERT INTO timeline
SELECT n, n % :weddings, timestamptz '2026-01-01Z' + n % 100000 * interval '1 minute', 'entry ' || n / :weddings
  FROM generate_series(0, 79 * :weddings - 1) AS n;

ALTER TABLE weddings ADD FOREIGN KEY (planner_id) REFERENCES planners;
ALTER TABLE seating ADD FOREIGN KEY (wedding_id) REFERENCES weddings;
ALTER TABLE guests ADD FOREIGN KEY (wedding_id) REFERENCES weddings, ADD FOREIGN KEY (seating_id) REFERENCES seating,
    ADD FOREIGN KEY (brings_id) REFERENCES guests;
ALTER TABLE invitations ADD FOREIGN KEY (wedding_id) REFERENCES weddings, ADD FOREIGN KEY (guest_id) REFERENCES guests;
ALTER TABLE rsvps ADD FOREIGN KEY (invitation_id) REFERENCES invitations, ADD FOREIGN KEY (guest_id) REFERENCES guests;
ALTER TABLE timeline ADD FOREIGN KEY (wedding_id) REFERENCES weddings;
CREATE INDEX ON weddings (planner_id);
CREATE INDEX ON seating (wedding_id);
CREATE INDEX ON guests (wedding_id);
CREATE INDEX ON guests (seating_id);
CREATE INDEX ON guests (brings_id);
CREATE INDEX ON invitations (wedding_id);
CREATE INDEX ON invitations (guest_id);
CREATE INDEX ON rsvps (invitation_id);
CREATE INDEX ON rsvps (guest_id);
CREATE INDEX ON timeline (wedding_id);
VACUUM (FREEZE, ANALYZE);
