//! What the queries of several groups have in common: which schemas count, and how a row becomes a draft.

use tokio_postgres::{Error, Row};

use super::draft::{Address, Draft, Part, at};
use crate::schema::{Kind, Object};

/// Schemas that are not the server's own; `n` is `pg_namespace`.
pub const OURS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// The first `oid` that the server gives to what users make (`FirstNormalObjectId`).
pub const FIRST_OID: u32 = 16384;

/// The arguments by which SQL knows the function or procedure `p`: their types, so that a name that changed does not make
/// another function of it, and servers of all versions agree. Only where a procedure has OUT arguments (since 14) types
/// alone may be taken for those of another one, unless it is said that they go in.
pub const SIGNATURE: &str = "CASE WHEN p.prokind = 'p' AND 'o' = ANY (p.proargmodes)
                         THEN pg_catalog.array_to_string(ARRAY(
                              SELECT 'IN ' || pg_catalog.format_type(a.type, NULL)
                                FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a (type, n)
                               ORDER BY a.n), ', ')
                         ELSE pg_catalog.oidvectortypes(p.proargtypes) END";

/// The draft of a row with the columns `oid`, `schema`, `name`, `owner`, `identity` and `ddl`. None where a part of the
/// definition is NULL: the object has gone since the snapshot was taken, and the server's functions look past it.
pub fn draft(row: &Row, kind: Kind, class: u32) -> Result<Option<Draft>, Error> {
    let ddl: Option<Vec<Option<String>>> = row.try_get("ddl")?;
    let identity: Option<String> = row.try_get("identity")?;
    let create = ddl.and_then(|ddl| ddl.into_iter().collect::<Option<Vec<String>>>());
    let (Some(create), Some(identity)) = (create, identity) else { return Ok(None) };
    let schema: Option<&str> = row.try_get("schema")?;
    let mut object = Object::new(kind, &identity, schema, row.try_get::<_, &str>("name")?);
    object.owner = row.try_get("owner")?;
    object.create = create;
    object.drop = vec![format!("DROP {identity}")];
    Ok(Some(Draft::new(at(class, row.try_get("oid")?), object)))
}

/// The drafts of rows that need nothing more than [`draft`].
pub fn drafts(rows: &[Row], kind: Kind, class: u32) -> Result<Vec<Draft>, Error> {
    rows.iter().filter_map(|row| draft(row, kind, class).transpose()).collect()
}

/// The rows `oids` of catalog `class` as parts without comments; none for an `oid` of 0.
pub fn parts(class: u32, oids: &[u32]) -> impl Iterator<Item = Part> {
    oids.iter().filter(|oid| **oid != 0).map(move |oid| named_part(at(class, *oid), None))
}

/// A part that comments may name.
pub fn named_part(at: Address, identity: Option<String>) -> Part {
    Part { at, identity }
}
