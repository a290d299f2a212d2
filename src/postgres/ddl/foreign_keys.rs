//! Foreign keys. Those that partitions have from the table above, or that the server made for partitions of the table
//! that is referred to, come with the one that people made.

use tokio_postgres::Error;

use super::draft::{Draft, Reader, at, class, of_table, post_data};
use super::indexes::attachments;
use super::present::Group;
use super::tables::catalog::letter;
use crate::schema::Kind;

const FOREIGN_KEYS: &str = "SELECT r.oid, r.conname, pg_catalog.quote_ident(r.conname), n.nspname, t.relname,
        pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.relname), t.relkind,
        pg_catalog.pg_get_constraintdef(r.oid),
        CASE WHEN f.relkind = 'p' AND r.conindid <> 0 THEN
            ARRAY(SELECT b.relid::oid FROM pg_catalog.pg_partition_tree(r.conindid) b WHERE b.relid <> r.conindid)
        END
    FROM pg_catalog.pg_constraint r
    JOIN pg_catalog.pg_class t ON t.oid = r.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_catalog.pg_class f ON f.oid = r.confrelid
    WHERE r.contype = 'f' AND r.conparentid = 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// Reads them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let mut drafts = Vec::new();
    for row in reader.rows_of(Group::ForeignKeys, FOREIGN_KEYS).await? {
        let Some(definition) = row.get::<_, Option<String>>(7) else { continue };
        let (name, quoted): (String, String) = (row.get(1), row.get(2));
        let (schema, table, qualified): (String, String, String) = (row.get(3), row.get(4), row.get(5));
        // Children made by INHERITS have none of their parent's; partitions have them all.
        let only = if letter(&row, 6) == 'p' { "" } else { "ONLY " };
        let identity = format!("CONSTRAINT {quoted} ON {qualified}");
        let mut object = post_data(of_table(Kind::ForeignKey, identity, &name, (&schema, &table)));
        let alter = format!("ALTER TABLE {only}{qualified}");
        object.create = vec![format!("{alter}\n    ADD CONSTRAINT {quoted} {definition}")];
        object.drop = vec![format!("{alter} DROP CONSTRAINT {quoted}")];
        let mut draft = Draft::new(at(class::CONSTRAINT, row.get(0)), object);
        // A partitioned table's key can be referred to when all partitions' indexes are attached to its index.
        draft.needs.extend(attachments(&row.get::<_, Option<Vec<u32>>>(8).unwrap_or_default()));
        drafts.push(draft);
    }
    Ok(drafts)
}
