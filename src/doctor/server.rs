//! The server itself: version, write-ahead log, extensions, what else goes on in it, its clock.

use std::time::Duration;

use chrono::Utc;
use tokio_postgres::{Client, Row};

use super::{Check, count, some};
use crate::failure::Failure;
use crate::postgres::catalog::ServerFacts;

/// Major versions that pgkeep is tested with.
const TESTED: std::ops::RangeInclusive<u32> = 13..=18;

/// Seconds that clocks may differ by.
const CLOCK_TOLERANCE: f64 = 5.0;

pub fn version(server: &ServerFacts, restores: bool) -> Check {
    let ServerFacts { version, database, encoding, standby, .. } = server;
    let found = format!(
        "Postgres {version}, database {database}, {encoding}{}",
        if *standby { ", a standby" } else { "" }
    );
    let major = server.version_num / 10_000;
    let (oldest, newest) = (TESTED.start(), TESTED.end());
    if major < *oldest {
        return Check::fail("server", found, format!("pgkeep works with Postgres {oldest} to {newest}"));
    }
    if *standby && restores {
        let advice = "connect to the primary; with several hosts, add target_session_attrs=read-write";
        return Check::fail("server", found, advice);
    }
    if major > *newest {
        let advice =
            format!("this version of pgkeep is tested with Postgres {oldest} to {newest}: take a newer one");
        return Check::warn("server", found, advice);
    }
    Check::pass("server", found)
}

pub async fn wal(client: &Client) -> Result<Check, Failure> {
    let sql = "SELECT pg_catalog.current_setting('wal_level')";
    let level: String = client.query_typed(sql, &[]).await?[0].get(0);
    let more =
        if level == "logical" { "" } else { ", which is enough; changes can be followed from logical on" };
    Ok(Check::pass("WAL level", format!("{level}{more}")))
}

/// Extensions of the database, and whether the server still has them.
pub async fn extensions(client: &Client) -> Result<Check, Failure> {
    let sql = "SELECT e.extname::pg_catalog.text, e.extversion,
                      EXISTS (SELECT FROM pg_catalog.pg_available_extensions() a WHERE a.name = e.extname)
                 FROM pg_catalog.pg_extension e ORDER BY 1";
    let rows = client.query_typed(sql, &[]).await?;
    let named = |row: &Row| format!("{} {}", row.get::<_, &str>(0), row.get::<_, &str>(1));
    let all: Vec<String> = rows.iter().map(named).collect();
    let gone: Vec<String> = rows.iter().filter(|row| !row.get::<_, bool>(2)).map(named).collect();
    if gone.is_empty() {
        return Ok(Check::pass(
            "extensions",
            if all.is_empty() { "none".to_owned() } else { all.join(", ") },
        ));
    }
    let found = format!("in the database, and no longer installed on the server: {}", some(&gone));
    Ok(Check::warn(
        "extensions",
        found,
        "install their packages on the server: what calls them fails, a backup of their tables, too",
    ))
}

/// Transactions that have been open for longer than `older_than`, as far as the role may see.
pub async fn transactions(client: &Client, older_than: Duration) -> Result<Check, Failure> {
    const NAME: &str = "long transactions";
    let limit = format!("pg_catalog.clock_timestamp() - interval '{} milliseconds'", older_than.as_millis());
    let sql = format!(
        "SELECT a.pid, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8
           FROM pg_catalog.pg_stat_activity a
          WHERE a.xact_start < {limit} AND a.pid <> pg_catalog.pg_backend_pid() AND a.usesysid IS NOT NULL
          ORDER BY a.xact_start"
    );
    let open = client.query_typed(&sql, &[]).await?;
    let sql =
        format!("SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts p WHERE p.prepared < {limit}");
    let prepared: i64 = client.query_typed(&sql, &[]).await?[0].get(0);
    // The server says nothing else of sessions of other roles, and shows that they are there.
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
                WHERE a.usesysid IS NOT NULL AND a.query = '<insufficient privilege>'";
    let hidden: i64 = client.query_typed(sql, &[]).await?[0].get(0);
    let mut found = Vec::new();
    if !open.is_empty() {
        let each = |row: &Row| format!("pid {} for {}", row.get::<_, i32>(0), span(row.get(1)));
        found.push(some(&open.iter().map(each).collect::<Vec<_>>()));
    }
    if prepared > 0 {
        found.push(count(prepared as usize, "prepared transaction"));
    }
    let unseen = match hidden {
        0 => String::new(),
        hidden => format!("; {} of others may not be seen", count(hidden as usize, "session")),
    };
    let age = match older_than.as_secs() {
        0 => humantime::format_duration(older_than).to_string(),
        seconds => span(i64::try_from(seconds).unwrap_or(i64::MAX)),
    };
    if found.is_empty() {
        return Ok(Check::pass(NAME, format!("none is older than {age}{unseen}")));
    }
    let advice = "a backup waits for those that hold a table ACCESS EXCLUSIVE, a restore for those that wrote to its tables; what they are: SELECT * FROM pg_stat_activity ORDER BY xact_start; SELECT * FROM pg_prepared_xacts";
    Ok(Check::warn(NAME, found.join("; ") + &unseen, advice))
}

/// `40 s`, `12 min`, `3 h`, `5 days`.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How many more connections the role would get, this one not counted.
pub async fn connections(client: &Client, jobs: usize) -> Result<Check, Failure> {
    let sql = "
    SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int8
             - CASE WHEN r.rolsuper THEN 0 ELSE
                 pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8
               + COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int8 END
             - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
                 WHERE a.usesysid IS NOT NULL AND COALESCE(a.backend_type, 'client backend') = 'client backend'),
           CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit
             - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid) END,
           CASE WHEN d.datconnlimit >= 0 AND NOT r.rolsuper THEN d.datconnlimit
             - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid) END,
           pg_catalog.current_setting('max_connections')::pg_catalog.int8
      FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
     WHERE r.rolname = CURRENT_USER AND d.datname = pg_catalog.current_database()";
    let row = &client.query_typed(sql, &[]).await?[0];
    let limits: [(Option<i64>, &str); 3] = [
        (Some(row.get(0)), "max_connections"),
        (row.get(1), "the role's CONNECTION LIMIT"),
        (row.get(2), "the database's CONNECTION LIMIT"),
    ];
    let free = limits.iter().filter_map(|(free, what)| free.map(|free| (free.max(0), *what))).min();
    let (free, limit) = free.unwrap_or_default();
    let found = format!("{free} free (max_connections {})", row.get::<_, i64>(3));
    // The one that asks is there already.
    if free + 1 >= i64::try_from(jobs).unwrap_or(i64::MAX) {
        return Ok(Check::pass("connections", found));
    }
    let advice = format!(
        "work goes on with fewer connections than --jobs {jobs}; end idle sessions, or raise {limit}"
    );
    Ok(Check::warn("connections", found, advice))
}

/// How far the server's clock is from this machine's.
pub async fn clock(client: &Client) -> Result<Check, Failure> {
    let sql = "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::pg_catalog.float8";
    let seconds = |time: chrono::DateTime<Utc>| time.timestamp_micros() as f64 / 1e6;
    let before = seconds(Utc::now());
    let there: f64 = client.query_typed(sql, &[]).await?[0].get(0);
    let after = seconds(Utc::now());
    let (difference, unsure) = (there - (before + after) / 2.0, (after - before) / 2.0);
    if difference.abs() <= CLOCK_TOLERANCE + unsure {
        return Ok(Check::pass(
            "clock",
            format!("the server's differs from this machine's by {:.1} s", difference.abs()),
        ));
    }
    let word = if difference > 0.0 { "ahead of" } else { "behind" };
    let found = format!("the server's is {:.0} s {word} this machine's", difference.abs());
    Ok(Check::warn(
        "clock",
        found,
        "names of archives and times in logs are this machine's: set its clock (NTP), or the server's",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_of_a_known_version_and_can_be_written_to() {
        let server = |version_num, standby| ServerFacts { version_num, standby, ..ServerFacts::default() };
        use super::super::Status::{Fail, Pass, Warn};
        for (of, restores, status) in [
            (server(150_004, false), true, Pass),
            (server(130_000, false), false, Pass),
            (server(120_019, false), false, Fail),
            (server(190_000, false), false, Warn),
            (server(150_004, true), false, Pass),
            (server(150_004, true), true, Fail),
        ] {
            assert_eq!(version(&of, restores).status, status, "{of:?}");
        }
    }

    #[test]
    fn spans_are_said_in_the_unit_that_suits_them() {
        let said: Vec<String> = [40, 720, 10_800, 500_000].into_iter().map(span).collect();
        assert_eq!(said, ["40 s", "12 min", "3 h", "5 days"]);
    }
}
