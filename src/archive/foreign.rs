//! Guesses what a file is that is not an archive, so that the error can say what to do with it.

/// A sentence about a file that begins with `first`; none when nothing is known about it.
pub(super) fn hint(first: &[u8]) -> Option<&'static str> {
    const TAR_MAGIC_OFFSET: usize = 257;
    if first.starts_with(b"PGDMP") {
        return Some("it is a custom-format archive of pg_dump: restore it with pg_restore");
    }
    if first.get(TAR_MAGIC_OFFSET..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Some("it is a tar file");
    }
    if first.starts_with(b"PK\x03\x04") {
        return Some("it is a zip file");
    }
    if is_sql(first) {
        return Some("it seems to be SQL text, perhaps of pg_dump: run it with psql");
    }
    if first.iter().all(|byte| *byte == 0) && !first.is_empty() {
        return Some("it begins with zeros only");
    }
    None
}

/// pg_dump begins with `--`, pg_dumpall too, and people begin with a statement.
fn is_sql(first: &[u8]) -> bool {
    const WORDS: [&str; 10] =
        ["--", "/*", "\\", "begin", "set ", "create ", "insert ", "copy ", "select ", "drop "];
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
    WORDS
        .iter()
        .any(|word| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_confuse_with_an_archive_is_named() {
        assert!(hint(b"PGDMP\x01\x0e").is_some_and(|hint| hint.contains("pg_restore")));
        assert!(hint(b"--\n-- PostgreSQL database dump\n--\n").is_some_and(|hint| hint.contains("psql")));
        assert!(hint(b"\xef\xbb\xbf\nCREATE TABLE users").is_some_and(|hint| hint.contains("psql")));
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(hint(&tar), Some("it is a tar file"));
        assert_eq!(hint(b"hello"), None);
        assert_eq!(hint(b""), None);
    }
}
