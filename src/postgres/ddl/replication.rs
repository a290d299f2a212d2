//! Logical replication: publications with their tables and schemas, and subscriptions.

use futures_util::future::{try_join, try_join3};
use tokio_postgres::{Error, Row};

use super::draft::{Draft, Reader, at, class, of_table, post_data};
use super::present::Group;
use crate::postgres::quote;
use crate::schema::{Kind, Object};

fn publications(reader: Reader<'_>) -> String {
    format!(
        "
SELECT p.oid, p.pubname::pg_catalog.text, pg_catalog.quote_ident(p.pubname),
       pg_catalog.pg_get_userbyid(p.pubowner)::pg_catalog.text, p.puballtables,
       pg_catalog.concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END,
         CASE WHEN p.pubupdate THEN 'update' END, CASE WHEN p.pubdelete THEN 'delete' END,
         CASE WHEN p.pubtruncate THEN 'truncate' END),
       p.pubviaroot, {}
  FROM pg_catalog.pg_publication p
 ORDER BY 2",
        reader.pick(18, "p.pubgencols = 's'", "false")
    )
}

fn tables(reader: Reader<'_>) -> String {
    format!(
        "
SELECT r.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, p.pubname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.quote_ident(p.pubname), {}, {}
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 4, 2, 3",
        reader.pick(
            15,
            "(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY x.n)
                FROM pg_catalog.unnest(r.prattrs) WITH ORDINALITY x (num, n)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = x.num)",
            "NULL"
        ),
        reader.pick(15, "pg_catalog.pg_get_expr(r.prqual, r.prrelid)", "NULL")
    )
}

/// Schemas in publications; none before 15.
const SCHEMAS: &str = "
SELECT r.oid, n.nspname::pg_catalog.text, p.pubname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname), pg_catalog.quote_ident(p.pubname)
  FROM pg_catalog.pg_publication_namespace r
  JOIN pg_catalog.pg_publication p ON p.oid = r.pnpubid
  JOIN pg_catalog.pg_namespace n ON n.oid = r.pnnspid
 ORDER BY 3, 2";

/// Whether the role may read connection strings: without that, subscriptions are not to be seen.
const MAY_READ: &str =
    "SELECT pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT')";

fn subscriptions(reader: Reader<'_>) -> String {
    format!(
        "
SELECT s.oid, s.subname::pg_catalog.text, pg_catalog.quote_ident(s.subname),
       pg_catalog.pg_get_userbyid(s.subowner)::pg_catalog.text, s.subconninfo,
       (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(x.name), ', ' ORDER BY x.n)
          FROM pg_catalog.unnest(s.subpublications) WITH ORDINALITY x (name, n)),
       pg_catalog.concat_ws(', ', 'connect = false',
         'slot_name = ' || COALESCE(pg_catalog.quote_literal(s.subslotname), 'NONE'),
         {}, {}, {}, {}, {}, {}, {},
         CASE WHEN s.subsynccommit <> 'off'
              THEN 'synchronous_commit = ' || pg_catalog.quote_literal(s.subsynccommit) END,
         {})
  FROM pg_catalog.pg_subscription s
  JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
 WHERE d.datname = pg_catalog.current_database()
 ORDER BY 2",
        reader.pick(14, "CASE WHEN s.subbinary THEN 'binary = true' END", "NULL"),
        // What it is when nothing is said changed in 18.
        reader.pick(
            14,
            "'streaming = ' || CASE s.substream::pg_catalog.text WHEN 'p' THEN 'parallel'
                               WHEN 't' THEN 'on' WHEN 'true' THEN 'on' ELSE 'off' END",
            "NULL"
        ),
        reader.pick(15, "CASE WHEN s.subtwophasestate <> 'd' THEN 'two_phase = on' END", "NULL"),
        reader.pick(15, "CASE WHEN s.subdisableonerr THEN 'disable_on_error = true' END", "NULL"),
        reader.pick(16, "CASE WHEN NOT s.subpasswordrequired THEN 'password_required = false' END", "NULL"),
        reader.pick(16, "CASE WHEN s.subrunasowner THEN 'run_as_owner = true' END", "NULL"),
        reader.pick(17, "CASE WHEN s.subfailover THEN 'failover = true' END", "NULL"),
        reader.pick(
            16,
            "CASE WHEN s.suborigin <> 'any' THEN 'origin = ' || pg_catalog.quote_literal(s.suborigin) END",
            "NULL"
        ),
    )
}

/// All publications and their members, and, for who may see them, all subscriptions.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (publications, tables) = (publications(reader), tables(reader));
    let none = "SELECT WHERE false";
    let schemas = reader.pick(15, SCHEMAS, none);
    let subscriptions = subscriptions(reader);
    let group = Group::Publications;
    let ((publications, tables, schemas), may_read) = try_join(
        try_join3(
            reader.rows_of(group, &publications),
            reader.rows_of(group, &tables),
            reader.rows_of(group, schemas),
        ),
        reader.rows(MAY_READ),
    )
    .await?;
    let mut drafts: Vec<Draft> = publications.iter().map(publication).collect();
    drafts.extend(tables.iter().map(table));
    drafts.extend(schemas.iter().map(schema));
    if may_read.first().is_some_and(|row| row.get(0)) {
        drafts.extend(reader.rows(&subscriptions).await?.iter().map(subscription));
    }
    Ok(drafts)
}

fn publication(row: &Row) -> Draft {
    let identity = format!("PUBLICATION {}", row.get::<_, &str>(2));
    let all = if row.get(4) { " FOR ALL TABLES" } else { "" };
    let mut with = format!("publish = {}", quote::literal(row.get(5)));
    if row.get(6) {
        with.push_str(", publish_via_partition_root = true");
    }
    if row.get(7) {
        with.push_str(", publish_generated_columns = stored");
    }
    let mut object = post_data(Object::new(Kind::Publication, &identity, None, row.get::<_, &str>(1)));
    object.owner = row.get(3);
    object.create = vec![format!("CREATE {identity}{all} WITH ({with})")];
    object.drop = vec![format!("DROP {identity}")];
    Draft::new(at(class::PUBLICATION, row.get(0)), object)
}

fn table(row: &Row) -> Draft {
    let (sql, publication): (&str, &str) = (row.get(4), row.get(5));
    let mut object = post_data(of_table(
        Kind::PublicationMember,
        format!("TABLE {sql} IN PUBLICATION {publication}"),
        row.get::<_, &str>(3),
        (row.get(1), row.get(2)),
    ));
    let columns = row.get::<_, Option<&str>>(6).map(|c| format!(" ({c})")).unwrap_or_default();
    let filter = row.get::<_, Option<&str>>(7).map(|f| format!(" WHERE ({f})")).unwrap_or_default();
    object.create = vec![format!("ALTER PUBLICATION {publication} ADD TABLE ONLY {sql}{columns}{filter}")];
    object.drop = vec![format!("ALTER PUBLICATION {publication} DROP TABLE ONLY {sql}")];
    Draft::new(at(class::PUBLICATION_REL, row.get(0)), object)
}

fn schema(row: &Row) -> Draft {
    let (sql, publication): (&str, &str) = (row.get(3), row.get(4));
    let mut object = post_data(Object::new(
        Kind::PublicationMember,
        format!("TABLES IN SCHEMA {sql} IN PUBLICATION {publication}"),
        Some(row.get(1)),
        row.get::<_, &str>(2),
    ));
    object.create = vec![format!("ALTER PUBLICATION {publication} ADD TABLES IN SCHEMA {sql}")];
    object.drop = vec![format!("ALTER PUBLICATION {publication} DROP TABLES IN SCHEMA {sql}")];
    Draft::new(at(class::PUBLICATION_NAMESPACE, row.get(0)), object)
}

/// Made without a word to the publisher, and not active: two subscriptions must not take from one slot.
fn subscription(row: &Row) -> Draft {
    let name: &str = row.get(2);
    let identity = format!("SUBSCRIPTION {name}");
    let mut object = post_data(Object::new(Kind::Subscription, &identity, None, row.get::<_, &str>(1)));
    object.owner = row.get(3);
    object.create = vec![format!(
        "CREATE {identity} CONNECTION {} PUBLICATION {} WITH ({})",
        quote::literal(row.get(4)),
        row.get::<_, &str>(5),
        row.get::<_, &str>(6),
    )];
    // With a slot DROP would go to the publisher, which no transaction can.
    object.drop = vec![
        format!("ALTER {identity} DISABLE"),
        format!("ALTER {identity} SET (slot_name = NONE)"),
        format!("DROP {identity}"),
    ];
    Draft::new(at(class::SUBSCRIPTION, row.get(0)), object)
}
