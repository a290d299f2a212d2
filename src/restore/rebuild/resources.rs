//! What a rebuild asks of the server for its sessions.

use tokio_postgres::Client;

use crate::failure::Failure;

const MIB: i64 = 1 << 20;
/// What all sessions may take together where the server has been given little memory.
const LEAST_TOGETHER: i64 = 256 * MIB;
/// And where it has been given much: indexes gain nothing from more.
const MOST_TOGETHER: i64 = 1 << 30;

/// The statement that gives each of so many sessions memory to sort in; empty where they have enough.
///
/// A client does not know how much memory the server has. Its `shared_buffers` says how much somebody meant it to
/// have: usually a quarter of it. As much again is taken for the time of the restore, within bounds, and never less
/// than the server would give by itself.
pub async fn memory(client: &Client, sessions: usize) -> Result<String, Failure> {
    let sql = "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')),
                      pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers'))";
    let row = client.query_typed(sql, &[]).await?;
    let (now, buffers): (i64, i64) = (row[0].get(0), row[0].get(1));
    Ok(statement(now, buffers, sessions))
}

fn statement(now: i64, buffers: i64, sessions: usize) -> String {
    let each = buffers.clamp(LEAST_TOGETHER, MOST_TOGETHER) / (sessions.max(1) as i64);
    if each > now { format!("SET maintenance_work_mem = '{}kB';", each / 1024) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_between_sessions_and_never_less_than_before() {
        assert_eq!(statement(64 * MIB, 128 * MIB, 2), "SET maintenance_work_mem = '131072kB';");
        assert_eq!(statement(64 * MIB, 8192 * MIB, 4), "SET maintenance_work_mem = '262144kB';");
        assert_eq!(statement(64 * MIB, 128 * MIB, 4), "");
        assert_eq!(statement(2048 * MIB, 8192 * MIB, 1), "");
    }
}
