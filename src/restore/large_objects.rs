//! Large objects: missing ones are made, different ones get the archived bytes and keep owner, privileges and comment,
//! equal ones are not written. A piece is compared, and written, at a time.
//!
//! In the restoring transaction as with tables: staged, compared, written, compared anew. Into a database that is being
//! rebuilt they are written straight away.

mod attempt;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::{Client, Error};

use super::Mode;
use super::compare::Difference;
use super::log::TableOutcome;
use super::objects::apply::{self, What};
use super::plan::TablePlan;
use super::preference::Rules;
use super::stage;
use crate::archive::model::{self, Chunk};
use crate::archive::reader::Archive;
use crate::backup::large_objects::{self as archived, PIECE_BYTES};
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, ServerFacts};
use crate::postgres::settings;
use crate::progress::Events;
use crate::schema::Object;
use crate::schema::script::Style;

/// The archived pieces.
const STAGE: &str = "pg_temp.pgkeep_large_objects";
/// The archived large objects: length, whether they are there, whether they differ.
const LIST: &str = "pg_temp.pgkeep_large_list";
/// Archived pieces that differ from what is there.
const PIECES: &str = "pg_temp.pgkeep_large_pieces";
/// Checksums of the pieces of live large objects that are to be written or removed.
const BEFORE: &str = "pg_temp.pgkeep_large_before";
/// Bytes of JSON that are staged at once while a database is rebuilt.
const AT_ONCE: u64 = 32 << 20;
/// All large objects, as `m`.
const LIVE: &str = "pg_catalog.pg_largeobject_metadata m";

/// The plan for an archive's large objects, or why they cannot be restored.
pub fn fit(index: u32, table: &model::Table, catalog: &Catalog, mode: Mode) -> Result<TablePlan, String> {
    let expected = archived::table();
    let shape = |t: &model::Table| -> Vec<_> {
        t.columns.iter().map(|c| (c.name.clone(), c.type_name.clone(), c.form)).collect()
    };
    if (&table.schema, &table.name) != (&expected.schema, &expected.name) || shape(table) != shape(&expected)
    {
        return Err("the archive has large objects in a form that this version does not know".to_owned());
    }
    Ok(TablePlan {
        index,
        shown: table.shown(),
        name: table.name.clone(),
        relation: archived::RELATION,
        quoted: STAGE.to_owned(),
        from_item: STAGE.to_owned(),
        columns: table.columns.iter().map(|c| c.name.clone()).collect(),
        forms: table.columns.iter().map(|c| c.form).collect(),
        left_out: Vec::new(),
        kept: Vec::new(),
        casts: vec![String::new(); table.columns.len()],
        copy_options: settings::copy_options(&catalog.server.encoding),
        key: None,
        extension: None,
        mode,
        counts_live_only: mode == Mode::Exact,
        rules: Rules::default(),
        chosen: None,
        reasons: Vec::new(),
        places: None,
        removable: Vec::new(),
        staged_in: stage::TEMPORARY,
        refusing: None,
    })
}

/// How many large objects there are.
pub async fn count(client: &Client) -> Result<u64, Error> {
    number(client, &format!("SELECT pg_catalog.count(*) FROM {LIVE}")).await
}

async fn number(client: &Client, sql: &str) -> Result<u64, Error> {
    Ok(client.query_typed(sql, &[]).await?[0].get::<_, i64>(0).max(0) as u64)
}

fn create_stage() -> String {
    // Compressing what is read once and thrown away would only take time.
    format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS {STAGE} (loid pg_catalog.oid NOT NULL,
           \"position\" pg_catalog.int8 NOT NULL, data pg_catalog.bytea NOT NULL) ON COMMIT DROP;
         ALTER TABLE {STAGE} ALTER COLUMN data SET STORAGE EXTERNAL"
    )
}

/// Archived large objects that are staged and compared.
pub struct Staged {
    /// Their place in the archive.
    pub table: TablePlan,
    /// How many differ, and how.
    pub difference: Difference,
    /// Those that differ and stay as they are.
    kept: u64,
    mode: Mode,
    objects: u64,
    seconds: f64,
}

impl Staged {
    /// Stages the archived pieces and compares them with what is there. What is to be written has to be permitted where
    /// somebody `writes`.
    pub async fn new(
        client: &Client,
        archive: &Arc<Archive>,
        table: &TablePlan,
        writes: bool,
        server: &ServerFacts,
        events: &Events,
    ) -> Result<Staged, Failure> {
        let (started, mode) = (Instant::now(), table.mode);
        client.batch_execute(&create_stage()).await?;
        let rows = stage::copy_in(client, archive, table, STAGE, events).await?;
        if rows > 1000 {
            client.batch_execute(&format!("ANALYZE {STAGE} (loid)")).await?;
        }
        check_pieces(client).await?;
        check_permitted(
            client,
            server,
            &format!("{LIVE} JOIN {STAGE} s ON s.loid = m.oid AND s.\"position\" = 0"),
            "SELECT",
            "true",
        )
        .await?;
        let doing = |e: Error| Failure::from_server(&e).while_doing("comparing large objects");
        let list = format!(
            "CREATE TEMPORARY TABLE {PIECES} ON COMMIT DROP AS {};
             CREATE TEMPORARY TABLE {LIST} ON COMMIT DROP AS
             SELECT o.loid, o.size, m.oid IS NOT NULL AS is_there,
                    CASE WHEN m.oid IS NULL THEN false
                         ELSE d.loid IS NOT NULL OR {} END AS differs
               FROM (SELECT s.loid, pg_catalog.max(s.\"position\" + pg_catalog.octet_length(s.data)) AS size
                       FROM {STAGE} s GROUP BY s.loid) AS o
               LEFT JOIN {LIVE} ON m.oid = o.loid
               LEFT JOIN (SELECT DISTINCT p.loid FROM {PIECES} p) AS d ON d.loid = o.loid;
             ANALYZE {LIST}",
            differing_pieces(),
            is_longer("o")
        );
        client.batch_execute(&list).await.map_err(doing)?;
        let sql = format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE NOT l.is_there), pg_catalog.count(*) FILTER (WHERE l.differs),
                    pg_catalog.count(*) FROM {LIST} l"
        );
        let row = &client.query_typed(&sql, &[]).await.map_err(doing)?[0];
        let at = |i: usize| row.get::<_, i64>(i).max(0) as u64;
        let live_only = match mode {
            Mode::Exact => {
                number(client, &format!("SELECT pg_catalog.count(*) FROM {LIVE} WHERE {}", not_archived()))
                    .await
                    .map_err(doing)?
            }
            Mode::Upsert | Mode::Missing | Mode::Newer => 0,
        };
        let mut difference = Difference { archived_only: at(0), different: at(1), live_only };
        let mut kept = 0;
        // Nothing says which of two large objects is the newer.
        if matches!(mode, Mode::Missing | Mode::Newer) {
            kept = std::mem::take(&mut difference.different);
            let keep = format!("DELETE FROM {LIST} AS l WHERE l.differs");
            client.batch_execute(&keep).await.map_err(doing)?;
        }
        let written = format!("{LIVE} JOIN {LIST} l ON l.loid = m.oid AND l.differs");
        if writes {
            check_permitted(client, server, &written, "UPDATE", "true").await?;
        }
        if writes && live_only > 0 {
            check_permitted(client, server, LIVE, "owner", &not_archived()).await?;
        }
        let before = format!("CREATE TEMPORARY TABLE {BEFORE} ON COMMIT DROP AS {}", checksums(mode));
        client.batch_execute(&before).await.map_err(doing)?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Staged { table: table.clone(), difference, kept, mode, objects: at(2), seconds })
    }

    /// Removes the differences and proves that none is left. `definitions` make the missing ones with owner, comment and
    /// privileges, where the archive has them. Returns how many large objects there are now.
    pub async fn write(
        &mut self,
        client: &Client,
        definitions: &[Object],
        style: &Style,
    ) -> Result<u64, Failure> {
        let started = Instant::now();
        if !self.difference.is_none() {
            check_untouched(client, self.mode).await?;
            create(client, definitions, style).await?;
            let writing = |e: Error| Failure::from_server(&e).while_doing("writing large objects");
            client.batch_execute(&writes(self.mode)).await.map_err(writing)?;
            let left = number(client, &differences_left(self.mode))
                .await
                .map_err(|e| Failure::from_server(&e).while_doing("verifying large objects"))?;
            if left > 0 {
                return Err(written_meanwhile());
            }
        }
        self.seconds += started.elapsed().as_secs_f64();
        Ok(count(client).await?)
    }

    /// Refuses a number that others' making or removing some explains alone.
    pub fn check_counts(&self, before: u64, after: u64) -> Result<(), Failure> {
        let Difference { archived_only, live_only, .. } = self.difference;
        if (before + archived_only).checked_sub(live_only) == Some(after) {
            return Ok(());
        }
        Err(written_meanwhile())
    }

    /// For the log.
    pub fn outcome(&self) -> TableOutcome {
        let Difference { archived_only, different, live_only } = self.difference;
        TableOutcome {
            inserted: archived_only,
            updated: different,
            unchanged: self.objects.saturating_sub(archived_only + different + self.kept),
            deleted: live_only,
            kept: self.kept,
            errors: 0,
            seconds: (self.seconds * 1000.0).round() / 1000.0,
            ..TableOutcome::default()
        }
    }
}

/// The query for staged pieces that are not so in the large object that is there. Behind OFFSET 0, nothing is read that
/// is not there.
fn differing_pieces() -> String {
    format!(
        "SELECT x.loid, x.piece FROM (SELECT s.loid, s.ctid AS piece, s.\"position\" AS place, s.data
                                        FROM {STAGE} s JOIN {LIVE} ON m.oid = s.loid OFFSET 0) AS x
          WHERE pg_catalog.lo_get(x.loid, x.place, {PIECE_BYTES}) <> x.data"
    )
}

/// Whether the large object that is there goes on behind the archived one's end.
fn is_longer(alias: &str) -> String {
    format!("pg_catalog.octet_length(pg_catalog.lo_get({alias}.loid, {alias}.size, 1)) > 0")
}

/// The query for the checksums of what is to be written or removed.
fn checksums(mode: Mode) -> String {
    let mut condition = format!("EXISTS (SELECT FROM {LIST} l WHERE l.loid = m.oid AND l.differs)");
    if mode == Mode::Exact {
        condition = format!("({condition} OR {})", not_archived());
    }
    archived::pieces("pg_catalog.sha256({}) AS sha256", &condition)
}

/// Nobody is kept from writing large objects: what the safety backup may not have as it is now must not be lost.
async fn check_untouched(client: &Client, mode: Mode) -> Result<(), Failure> {
    let now = checksums(mode);
    let sql = format!(
        "WITH now AS MATERIALIZED ({now})
         SELECT (SELECT pg_catalog.count(*) FROM (SELECT * FROM now EXCEPT ALL TABLE {BEFORE}) AS a)
              + (SELECT pg_catalog.count(*) FROM (TABLE {BEFORE} EXCEPT ALL SELECT * FROM now) AS b)"
    );
    let changed = number(client, &sql).await;
    match changed.map_err(|e| Failure::from_server(&e).while_doing("reading large objects"))? {
        0 => Ok(()),
        _ => Err(written_meanwhile()),
    }
}

/// To be tried again: then the safety backup has what was written.
fn written_meanwhile() -> Failure {
    let failure = Failure::failed("others wrote large objects while the restore was at work")
        .next("run the same command again when nobody else writes large objects");
    Failure { transient: true, ..failure }
}

fn not_archived() -> String {
    format!("NOT EXISTS (SELECT FROM {LIST} l WHERE l.loid = m.oid)")
}

/// Length, pieces and removals. 131072 opens for writing.
fn writes(mode: Mode) -> String {
    let put = "pg_catalog.lo_put(s.loid, s.\"position\", s.data)";
    let mut sql = format!(
        "SELECT pg_catalog.lo_close(t.fd) + t.done
           FROM (SELECT f.fd, pg_catalog.lo_truncate64(f.fd, f.size) AS done
                   FROM (SELECT pg_catalog.lo_open(l.loid, 131072) AS fd, l.size
                           FROM {LIST} l WHERE l.differs OFFSET 0) AS f OFFSET 0) AS t;
         SELECT {put} FROM {STAGE} s JOIN {LIST} l ON l.loid = s.loid WHERE NOT l.is_there
          ORDER BY s.loid, s.\"position\";
         SELECT {put} FROM {STAGE} s JOIN {PIECES} p ON p.piece = s.ctid ORDER BY s.loid, s.\"position\";"
    );
    if mode == Mode::Exact {
        sql += &format!("SELECT pg_catalog.lo_unlink(m.oid) FROM {LIVE} WHERE {};", not_archived());
    }
    sql
}

/// The query for the number of differences.
fn differences_left(mode: Mode) -> String {
    let too_many = match mode {
        Mode::Exact => format!("(SELECT pg_catalog.count(*) FROM {LIVE} WHERE {})", not_archived()),
        Mode::Upsert | Mode::Missing | Mode::Newer => "0".to_owned(),
    };
    format!(
        "SELECT {too_many} + (SELECT pg_catalog.count(*) FROM ({}) AS d)
              + (SELECT pg_catalog.count(*) FROM {LIST} l LEFT JOIN {LIVE} ON m.oid = l.loid
                  WHERE CASE WHEN m.oid IS NULL THEN true ELSE {} END)",
        differing_pieces(),
        is_longer("l")
    )
}

/// Makes the missing ones.
async fn create(client: &Client, definitions: &[Object], style: &Style) -> Result<(), Failure> {
    let sql = format!("SELECT l.loid::pg_catalog.text FROM {LIST} l WHERE NOT l.is_there ORDER BY l.loid");
    let rows = client.query_typed(&sql, &[]).await?;
    let known: HashMap<&str, &Object> = definitions.iter().map(|o| (o.name.as_str(), o)).collect();
    let made: Vec<&Object> =
        rows.iter().filter_map(|row| known.get(row.get::<_, &str>(0)).copied()).collect();
    apply::run(client, &made, What::Definition, style).await?;
    create_missing(client, LIST).await?;
    apply::run(client, &made, What::Privileges, style).await
}

/// Makes those of `from` that are not there, with the role in force as their owner.
async fn create_missing(client: &Client, from: &str) -> Result<(), Failure> {
    let sql = format!(
        "SELECT pg_catalog.lo_create(n.loid)
           FROM (SELECT DISTINCT o.loid FROM {from} o
                  WHERE NOT EXISTS (SELECT FROM {LIVE} WHERE m.oid = o.loid)) AS n"
    );
    client.batch_execute(&sql).await.map_err(|e| Failure::from_server(&e).while_doing("making large objects"))
}

/// Refuses an archive whose pieces leave gaps or overlap: comparing them would prove nothing of what is between.
async fn check_pieces(client: &Client) -> Result<(), Failure> {
    let sql = format!(
        "SELECT s.loid::pg_catalog.text FROM {STAGE} s GROUP BY s.loid
         HAVING NOT (s.loid <> 0 AND pg_catalog.min(s.\"position\") = 0
                     AND pg_catalog.count(DISTINCT s.\"position\") = pg_catalog.count(*)
                     AND pg_catalog.bool_and(s.\"position\" % {PIECE_BYTES} = 0)
                     AND pg_catalog.max(s.\"position\") = (pg_catalog.count(*) - 1) * {PIECE_BYTES}
                     AND pg_catalog.max(pg_catalog.octet_length(s.data)) <= {PIECE_BYTES}
                     AND COALESCE(pg_catalog.min(s.\"position\") FILTER
                                    (WHERE pg_catalog.octet_length(s.data) < {PIECE_BYTES}),
                                  pg_catalog.max(s.\"position\")) = pg_catalog.max(s.\"position\"))
          LIMIT 1"
    );
    match client.query_typed(&sql, &[]).await?.first() {
        None => Ok(()),
        Some(row) => {
            let what =
                format!("the archive's pieces of large object {} do not fit together", row.get::<_, &str>(0));
            Err(Failure::new(FailureKind::Archive, what))
        }
    }
}

/// Refuses, naming them, large objects of `from` on which the role lacks `privilege`; `owner` stands for owning them.
async fn check_permitted(
    client: &Client,
    server: &ServerFacts,
    from: &str,
    privilege: &str,
    condition: &str,
) -> Result<(), Failure> {
    let may = match privilege {
        "owner" => "(pg_catalog.pg_has_role(m.lomowner, 'USAGE')
              OR pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool)"
            .to_owned(),
        privilege => archived::may(privilege, server.version_num),
    };
    let Some(names) = archived::named(client, from, &format!("({condition}) AND NOT {may}")).await? else {
        return Ok(());
    };
    let (role, lack) = (&server.role, if privilege == "owner" { "not their owner" } else { privilege });
    Err(Failure::new(
        FailureKind::Access,
        format!("role {role} lacks privileges on large objects {names} ({lack})"),
    )
    .next(format!(
        "connect as their owner, or leave large objects out with --exclude {}.{}",
        archived::SCHEMA,
        archived::NAME
    )))
}

/// While a database is rebuilt: writes these chunks' pieces, and makes what large objects are missing. Returns how many
/// began in the chunks.
pub async fn load(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: &[Chunk],
    events: &Events,
) -> Result<u64, Failure> {
    client.batch_execute(&create_stage()).await?;
    let mut objects = 0;
    let mut rest = chunks;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |c: &&Chunk| {
            bytes += c.bytes;
            bytes <= AT_ONCE
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = later;
        stage::copy_chunks(client, archive, table, now.to_vec(), STAGE, events).await?;
        create_missing(client, STAGE).await?;
        let put = format!(
            "SELECT pg_catalog.lo_put(s.loid, s.\"position\", s.data) FROM {STAGE} s
              WHERE pg_catalog.octet_length(s.data) > 0 ORDER BY s.loid, s.\"position\""
        );
        let writing = |e: Error| Failure::from_server(&e).while_doing("writing large objects");
        client.batch_execute(&put).await.map_err(writing)?;
        let begun = format!("SELECT pg_catalog.count(*) FROM {STAGE} s WHERE s.\"position\" = 0");
        objects += number(client, &begun).await?;
        client.batch_execute(&format!("TRUNCATE {STAGE}")).await?;
    }
    Ok(objects)
}
