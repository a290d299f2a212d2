//! Extended statistics.

use tokio_postgres::Error;

use super::draft::{Draft, Reader, at, class, of_table, post_data};
use super::present::Group;
use crate::schema::Kind;

const STATISTICS: &str = "SELECT s.oid, n.nspname, s.stxname,
        pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.stxname),
        pg_catalog.pg_get_userbyid(s.stxowner)::text, tn.nspname, t.relname,
        pg_catalog.pg_get_statisticsobjdef(s.oid), COALESCE(s.stxstattarget, -1)::int4
    FROM pg_catalog.pg_statistic_ext s
    JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
    JOIN pg_catalog.pg_class t ON t.oid = s.stxrelid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// Reads them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let mut drafts = Vec::new();
    for row in reader.rows_of(Group::Statistics, STATISTICS).await? {
        let Some(definition) = row.get::<_, Option<String>>(7) else { continue };
        let (name, qualified): (String, String) = (row.get(2), row.get(3));
        let (table_schema, table): (String, String) = (row.get(5), row.get(6));
        let identity = format!("STATISTICS {qualified}");
        let mut object =
            post_data(of_table(Kind::Statistics, identity.clone(), &name, (&table_schema, &table)));
        object.schema = row.get(1);
        object.owner = row.get(4);
        object.create = vec![definition];
        let target: i32 = row.get(8);
        if target >= 0 {
            object.create.push(format!("ALTER {identity} SET STATISTICS {target}"));
        }
        object.drop = vec![format!("DROP {identity}")];
        drafts.push(Draft::new(at(class::STATISTIC_EXT, row.get(0)), object));
    }
    Ok(drafts)
}
