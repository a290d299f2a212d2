//! Settings that make a session print and read values in one known way, whatever the role, database or server
//! defaults are. All are transaction-local, so a pooled connection is left as it was found.

/// Statements that fix every setting on which value output, row visibility or a time-out depends.
///
/// `version` is `server_version_num`. To be run inside a transaction.
pub fn statements(version: u32) -> String {
    let mut sql = String::with_capacity(1024);
    // The clocks first: that of the transaction has been running since BEGIN.
    if version >= 170_000 {
        sql.push_str("SET LOCAL transaction_timeout = 0;");
    }
    for (name, value) in [
        // Long work is the rule here; the operator's Ctrl-C is the time-out.
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        // Names print qualified, and no object of the user's can stand in for a built-in one (CVE-2018-1058).
        ("search_path", "''"),
        // One text for one value: manual, 20.11.2 and 9.
        ("datestyle", "'ISO, YMD'"),
        ("intervalstyle", "postgres"),
        ("timezone", "'UTC'"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("lc_monetary", "'C'"),
        ("xmloption", "content"),
        ("quote_all_identifiers", "off"),
        ("standard_conforming_strings", "on"),
        ("array_nulls", "on"),
        // Rows that a policy would hide are an error, never silently missing.
        ("row_security", "off"),
        // Chunks hold the rows in page order.
        ("synchronize_seqscans", "off"),
        // Compiling a COPY costs more than it saves.
        ("jit", "off"),
    ] {
        sql.push_str(&format!("SET LOCAL {name} = {value};"));
    }
    sql
}

/// For a transaction that reads tables: page by page, in their order, whatever the role's settings make the planner
/// believe.
pub const READING: &str = "SET LOCAL enable_tidscan = on; SET LOCAL enable_seqscan = on; SET LOCAL enable_indexonlyscan = off; SET LOCAL max_parallel_workers_per_gather = 0;";

/// For queries of the users' tables: to plan one the server expands the SQL functions in the table's indexes, which are to
/// find what they find in the application; and yet no object of the user's stands in for a built-in one.
pub const BUILT_IN_FIRST_PATH: &str = "SELECT pg_catalog.set_config('search_path',
    pg_catalog.concat_ws(', ', 'pg_catalog', NULLIF(s.reset_val, '')), true)
  FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";

/// For a session that will wait, for a person or for what other sessions do: the server should not end it meanwhile. To
/// be run outside of a transaction; `version` is `server_version_num`.
pub fn stay_while_idle(version: u32) -> &'static str {
    // There was no such time-out before.
    if version >= 140_000 { "SET idle_session_timeout = 0" } else { "" }
}

/// What ends a COPY statement in a database of this encoding, in either direction.
///
/// A database of encoding `SQL_ASCII` takes any bytes for text. The server would refuse to hand out, as UTF-8, what is
/// not: it is asked for the bytes as they are.
pub fn copy_options(encoding: &str) -> &'static str {
    if encoding == "SQL_ASCII" { " WITH (ENCODING 'SQL_ASCII')" } else { "" }
}
