//! Definitions of an older server as a newer one takes them.

use crate::schema::{Kind, Object};

/// The privileges on a table before version 17.
const ALL_BEFORE_17: &str = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER";

/// Changes what a server of version `to` (`server_version_num`) no longer takes, or takes otherwise than that of version
/// `from` did, where that changes nothing else.
pub fn to_version(objects: &mut [Object], from: u32, to: u32) {
    // Before 16 a subscription worked with the privileges of its owner, since then with those of each table's, unless it
    // says so.
    if from < 160_000 && to >= 160_000 {
        for object in objects.iter_mut().filter(|o| o.kind == Kind::Subscription) {
            for sql in object.create.iter_mut().filter(|sql| sql.starts_with("CREATE SUBSCRIPTION ")) {
                if let Some(rest) = sql.strip_suffix(')') {
                    // Before 14 nothing was streamed and nobody could say so; 18 streams unless told otherwise.
                    let streaming = if from < 140_000 { ", streaming = off" } else { "" };
                    *sql = format!("{rest}{streaming}, run_as_owner = true)");
                }
            }
        }
    }
    // 17 made MAINTAIN a privilege of tables. What was all before is not all any more, and what was never there is not
    // revoked.
    if from < 170_000 && to >= 170_000 {
        for grant in objects.iter_mut().flat_map(|o| &mut o.privileges) {
            let sql = &mut grant.sql;
            let is_plain = sql.starts_with("GRANT ALL ON TABLE ") || sql.starts_with("REVOKE ALL ON TABLE ");
            if is_plain || (sql.starts_with("ALTER DEFAULT PRIVILEGES ") && sql.contains(" ALL ON TABLES ")) {
                *sql = sql.replacen(" ALL ON TABLE", &format!(" {ALL_BEFORE_17} ON TABLE"), 1);
            }
        }
    }
    if to < 180_000 {
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
