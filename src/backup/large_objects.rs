//! Large objects as one more table part: a row is a piece of one, in the order of their numbers and positions.
//!
//! They are read by the server's own functions and not from `pg_largeobject`, which only superusers may read. A unit is
//! a range of numbers, so that workers share the work; neither side ever holds more than some pieces.

use tokio_postgres::{Client, Error};

use super::copy::{BinaryColumns, CopyFormat};
use super::plan::{Part, Plan, Unit};
use crate::archive::model;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, ServerFacts};
use crate::postgres::copy::binary::Wire;
use crate::postgres::ddl;
use crate::postgres::tid::TidRange;
use crate::row::CellForm;
use crate::schema::{Kind, Schema, scope};
use crate::selection::TableFilter;

/// The schema under which patterns, archives and logs know large objects.
pub const SCHEMA: &str = "pg_catalog";
/// The table under which patterns, archives and logs know large objects.
pub const NAME: &str = "pg_largeobject";
/// Bytes of a piece; only the last of a large object may have fewer.
pub const PIECE_BYTES: u64 = 256 << 10;
/// `oid` of `pg_largeobject`, the same on every server.
pub const RELATION: u32 = 2613;

/// Bytes that a unit aims at: as with tables.
const UNIT_BYTES: u64 = 16 << 20;
/// Large objects of one unit at most.
const MOST_IN_UNIT: u64 = 4096;
/// How many are named in a message.
const NAMED: i64 = 10;

/// Whether large objects are wanted.
pub fn wanted(filter: &TableFilter) -> bool {
    filter.wants(SCHEMA, NAME)
}

/// Large objects as the header describes them.
pub fn table() -> model::Table {
    let column = |name: &str, type_name: &str, form| model::Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        form,
        not_null: true,
    };
    model::Table {
        schema: SCHEMA.to_owned(),
        name: NAME.to_owned(),
        columns: vec![
            column("loid", "oid", CellForm::Number),
            column("position", "bigint", CellForm::Number),
            column("data", "bytea", CellForm::Text),
        ],
        key: vec!["loid".to_owned(), "position".to_owned()],
        large_objects: true,
        ..model::Table::default()
    }
}

/// Adds the large objects that there are under the transaction's snapshot to `plan`, as its last part.
pub async fn add(client: &Client, catalog: &Catalog, plan: &mut Plan) -> Result<(), Error> {
    let table = table();
    let forms = table.columns.iter().map(|c| c.form).collect();
    let binary = Some(BinaryColumns::of(&[Wire::Oid, Wire::Int8, Wire::Bytea], catalog.server.version_num));
    let part = Part { relation: RELATION, forms, binary, table };
    let number = plan.parts.len() as u32;
    plan.parts.push(part);
    let sizes = "SELECT pg_catalog.count(*), pg_catalog.pg_relation_size('pg_catalog.pg_largeobject')
                   FROM pg_catalog.pg_largeobject_metadata";
    let row = &client.query_typed(sizes, &[]).await?[0];
    let (count, bytes) = (row.get::<_, i64>(0).max(0) as u64, row.get::<_, i64>(1).max(0) as u64);
    if count == 0 {
        return Ok(());
    }
    let together = objects_of_unit(count, bytes);
    let firsts = format!(
        "SELECT n.oid FROM (SELECT m.oid, pg_catalog.row_number() OVER (ORDER BY m.oid) AS place
                              FROM pg_catalog.pg_largeobject_metadata m) AS n
          WHERE (n.place - 1) % {together} = 0 ORDER BY n.oid"
    );
    let firsts: Vec<u32> = client.query_typed(&firsts, &[]).await?.iter().map(|row| row.get(0)).collect();
    for (range, first) in firsts.iter().enumerate() {
        let before = firsts.get(range + 1).map(|next| format!(" AND m.oid < {next}")).unwrap_or_default();
        plan.units.push(Unit {
            table: number,
            range: range as u32,
            relation: RELATION,
            tids: TidRange::default(),
            has_tids: false,
            chosen: false,
            copy: format!(
                "COPY ({}) TO STDOUT (FORMAT binary)",
                pieces("{}", &format!("m.oid >= {first}{before}"))
            ),
            format: CopyFormat::Binary,
            bytes: bytes / firsts.len() as u64,
        });
    }
    plan.units.sort_by_key(|u| std::cmp::Reverse(u.bytes));
    Ok(())
}

/// Large objects of a unit: a power of two, so that ranges keep their limits while large objects come at the end.
fn objects_of_unit(count: u64, bytes: u64) -> u64 {
    let average = (bytes / count).max(1);
    1 << (UNIT_BYTES / average).clamp(1, MOST_IN_UNIT).ilog2()
}

/// The query for the pieces of the large objects `m` that `condition` chooses: number, position and `value`, in which
/// `{}` stands for the bytes.
///
/// How long one is, the server tells by seeking its end; each step is a query of its own behind OFFSET 0, so that the
/// planner neither drops nor doubles it.
pub fn pieces(value: &str, condition: &str) -> String {
    let value = value.replace("{}", &format!("pg_catalog.lo_get(s.loid, p.place, {PIECE_BYTES})"));
    format!(
        "SELECT s.loid, p.place, {value}
           FROM (SELECT e.loid, e.size + pg_catalog.lo_close(e.fd) AS size
                   FROM (SELECT f.loid, f.fd, pg_catalog.lo_lseek64(f.fd, 0, 2) AS size
                           FROM (SELECT m.oid AS loid, pg_catalog.lo_open(m.oid, 262144) AS fd
                                   FROM pg_catalog.pg_largeobject_metadata m
                                  WHERE {condition} OFFSET 0) AS f OFFSET 0) AS e OFFSET 0) AS s
          CROSS JOIN LATERAL pg_catalog.generate_series(
                0::pg_catalog.int8, GREATEST(s.size - 1, 0), {PIECE_BYTES}::pg_catalog.int8) AS p (place)
          ORDER BY s.loid, p.place"
    )
}

/// Whether the role in force has `privilege` (`SELECT` or `UPDATE`) on the large object `m`, as SQL.
pub fn may(privilege: &str, version: u32) -> String {
    if version >= 180_000 {
        return format!("COALESCE(pg_catalog.has_largeobject_privilege(m.oid, '{privilege}'), true)");
    }
    format!(
        "(pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool
          OR COALESCE((SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), false)
          OR EXISTS (SELECT FROM pg_catalog.aclexplode(
                            COALESCE(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) AS a
                      WHERE a.privilege_type = '{privilege}'
                        AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))))"
    )
}

/// The first of the large objects `m` that meet `condition`, spelt out; none where there are none.
pub async fn named(client: &Client, from: &str, condition: &str) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT m.oid::pg_catalog.text, pg_catalog.count(*) OVER () FROM {from} WHERE {condition}
          ORDER BY m.oid LIMIT {NAMED}"
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let more = first.get::<_, i64>(1) - names.len() as i64;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(Some(format!("{}{more}", names.join(", "))))
}

/// Refuses, naming them, large objects that the role may not read.
pub async fn check_readable(client: &Client, server: &ServerFacts) -> Result<(), Failure> {
    let unreadable = format!("NOT {}", may("SELECT", server.version_num));
    let Some(names) = named(client, "pg_catalog.pg_largeobject_metadata m", &unreadable).await? else {
        return Ok(());
    };
    let role = &server.role;
    Err(Failure::new(
        FailureKind::Access,
        format!("role {role} may not read large objects {names} (no SELECT)"),
    )
    .state("nothing was written")
    .next(format!(
        "GRANT SELECT ON LARGE OBJECT … TO {role}; or leave them out with --exclude {SCHEMA}.{NAME}"
    )))
}

/// What makes the large objects that there are, with owners, comments and privileges, but without their bytes.
pub async fn definitions(client: &Client, version: u32) -> Result<Schema, Error> {
    let schema = ddl::read(client, version).await?;
    let all = &schema.objects;
    let kept = (0..all.len()).filter(|n| all[*n].kind == Kind::LargeObject).collect();
    Ok(Schema { objects: scope::keep(schema.objects, &kept), ..Schema::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_many_small_large_objects_or_one_that_is_large() {
        assert_eq!(objects_of_unit(1_000_000, 2 << 30), 4096);
        assert_eq!(objects_of_unit(100, 100 << 20), 16);
        assert_eq!(objects_of_unit(3, 9 << 30), 1);
        assert_eq!(objects_of_unit(5, 0), 4096);
    }
}
