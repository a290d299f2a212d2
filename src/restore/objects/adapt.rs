//! Definitions of an older server as a newer one takes them.

use crate::schema::{Kind, Object};

/// Changes what a server of `version` (`server_version_num`) no longer takes, where that changes nothing else.
pub fn to_version(objects: &mut [Object], version: u32) {
    if version < 180_000 {
        return;
    }
    // A partitioned table has no storage, so that UNLOGGED never meant anything for one (release notes of 18).
    for object in objects.iter_mut().filter(|o| o.kind == Kind::Table) {
        for sql in &mut object.create {
            if sql.starts_with("CREATE UNLOGGED TABLE ") && sql.contains("\nPARTITION BY ") {
                *sql = sql.replacen("UNLOGGED ", "", 1);
            }
        }
    }
}
