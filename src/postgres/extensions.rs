//! Extensions that keep things for their users in tables which only their functions should write, or make tables for them.
//!
//! Such things are objects here, made by a call of the extension's own function: a queue with its tables (pgmq), a job
//! (pg_cron), a secret (supabase_vault). The rows of a queue are rows like others.

use super::catalog::Relation;

/// Tables whose rows are objects, as extension, schema and name.
const KEPT: [(&str, &str, &str); 2] = [("pg_cron", "cron", "job"), ("supabase_vault", "vault", "secrets")];

/// Queues whose tables are not the extension's, be it that somebody has taken them from it, or that this version of it
/// (1.6 and later) leaves them to the user. The row of any other goes with its tables.
const META_OF_OWN_QUEUES: &str = "WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
     WHERE d.deptype = 'e' AND d.classid = 1259
       AND d.objid = pg_catalog.to_regclass('pgmq.' || pg_catalog.quote_ident('q_' || pg_catalog.lower(queue_name))))";

/// Whether rows of this table are objects, and not to be written as rows.
pub fn keeps_objects(relation: &Relation) -> bool {
    let extension = relation.extension.as_deref();
    extension.is_some_and(|extension| KEPT.contains(&(extension, &relation.schema, &relation.name)))
}

/// Whether tables of this extension's have more columns in newer versions, as the user's rows in them have not.
pub fn grows(extension: Option<&str>) -> bool {
    extension == Some("pgmq")
}

/// Which rows of an extension's table may be removed by themselves, where that is not for its condition to say.
pub fn removable(extension: Option<&str>, schema: &str, name: &str) -> Option<String> {
    let is_meta = extension == Some("pgmq") && (schema, name) == ("pgmq", "meta");
    is_meta.then(|| META_OF_OWN_QUEUES.to_owned())
}

/// The tables of a queue, in schema `pgmq`: what waits, and what was archived.
pub fn tables_of_queue(queue: &str) -> [String; 2] {
    let name = queue.to_lowercase();
    [format!("q_{name}"), format!("a_{name}")]
}
