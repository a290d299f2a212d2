//! What tokio-postgres's errors mean, in words that hold no row values.
//!
//! A server's `DETAIL` often quotes a row ("Failing row contains (…)", "Key (email)=(…) already exists"), and so
//! does a `CONTEXT` of COPY; neither is ever shown, but for a `DETAIL` that names objects.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

/// The SQLSTATE that the server gave, if the error comes from the server.
pub fn sqlstate(error: &Error) -> Option<&str> {
    error.code().map(|code| code.code())
}

/// Whether the connection is gone: cut, closed, or ended by the server.
pub fn is_connection_loss(error: &Error) -> bool {
    if error.is_closed() {
        return true;
    }
    match error.as_db_error() {
        // FATAL means that the server ends the session; class 08 is what a pooler says of the server behind it.
        Some(db) => {
            matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
                || db.code().code().starts_with("08")
        }
        None => io_error(error).is_some(),
    }
}

/// 40001 or 40P01: the transaction may succeed when it is tried again.
pub fn is_serialization_failure(error: &Error) -> bool {
    matches!(sqlstate(error), Some("40001" | "40P01"))
}

/// 55P03: a lock was not granted in time.
pub fn is_lock_timeout(error: &Error) -> bool {
    sqlstate(error) == Some("55P03")
}

/// 53100: the server's disk is full.
pub fn is_disk_full(error: &Error) -> bool {
    sqlstate(error) == Some("53100")
}

/// 53200 with this hint: the server has room for no more locks.
pub fn is_lock_table_full(error: &Error) -> bool {
    let hint = error.as_db_error().and_then(DbError::hint).unwrap_or_default();
    sqlstate(error) == Some("53200") && hint.contains("max_locks_per_transaction")
}

/// 42501: a privilege is missing.
pub fn is_insufficient_privilege(error: &Error) -> bool {
    sqlstate(error) == Some("42501")
}

/// 57014: the statement was cancelled, by request or by `statement_timeout`.
pub fn is_cancelled(error: &Error) -> bool {
    sqlstate(error) == Some("57014")
}

/// Whether the server refuses a row for what is in it, so that another may do: what its values are (22), an integrity
/// constraint (23), a number of rows (21), what functions of the user's say (P0, 38, 39), a limit such as the size of an
/// index entry (54).
pub fn is_about_a_row(error: &Error) -> bool {
    let classes = ["21", "22", "23", "38", "39", "54", "P0"];
    sqlstate(error).is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
}

/// The I/O error underneath, if that is what went wrong.
pub(crate) fn io_error(error: &Error) -> Option<&io::Error> {
    let io = error.source()?.downcast_ref::<io::Error>()?;
    // tokio-postgres also wraps what it cannot parse or encode into I/O errors; only its words tell them apart.
    let text = error.to_string();
    (text.starts_with("error communicating") || text.starts_with("error connecting")).then_some(io)
}

/// Dependent objects that are named.
const DEPENDENTS: usize = 5;

/// One sentence: the server's message with the object it is about and its hint.
pub fn describe(error: &Error) -> String {
    described(error, message)
}

/// The same of a definition that is made before there are rows: what an invalid parameter's message quotes then is the
/// name of an option.
pub fn describe_definition(error: &Error) -> String {
    described(error, |db| match db.code().code() {
        "22023" => db.message().to_owned(),
        _ => message(db),
    })
}

fn described(error: &Error, message: impl Fn(&DbError) -> String) -> String {
    let Some(db) = error.as_db_error() else {
        return match (io_error(error), error.source()) {
            (Some(io), _) => format!("the connection to the server was lost: {}", describe_io(io)),
            (None, _) if error.is_closed() => "the server closed the connection".to_owned(),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        };
    };
    let mut text = message(db);
    let objects = [
        ("schema", db.schema()),
        ("table", db.table()),
        ("column", db.column()),
        ("data type", db.datatype()),
        ("constraint", db.constraint()),
    ];
    let named: Vec<String> = objects
        .into_iter()
        .filter_map(|(kind, name)| name.map(|name| (kind, format!("\"{name}\""))))
        .filter(|(_, name)| !text.contains(name.as_str()))
        .map(|(kind, name)| format!("{kind} {name}"))
        .collect();
    if !named.is_empty() {
        text.push_str(&format!(" ({})", named.join(", ")));
    }
    // dependent_objects_still_exist: the detail names them, and the hint is none, as CASCADE would remove what is not
    // ours.
    if db.code().code() == "2BP01" {
        let dependents: Vec<&str> = db.detail().unwrap_or_default().lines().take(DEPENDENTS).collect();
        if !dependents.is_empty() {
            text.push_str(&format!(" ({})", dependents.join("; ")));
        }
    } else if let Some(hint) = db.hint() {
        text.push_str(&format!(" (hint: {hint})"));
    }
    text
}

/// The server's message. Those of class 22 (data exceptions) quote the value that was wrong: it is left out.
fn message(db: &DbError) -> String {
    match db.code().code() {
        // character_not_in_repertoire, untranslatable_character: what they quote is the name of an encoding.
        "22021" | "22P05" => db.message().to_owned(),
        code if code.starts_with("22") => without_quoted(db.message()),
        _ => db.message().to_owned(),
    }
}

/// A text without what stands between its first and its last quotation mark: the value may hold such marks, too. Other
/// languages have other marks.
fn without_quoted(text: &str) -> String {
    const MARKS: [char; 7] = ['"', '«', '»', '“', '”', '„', '‟'];
    match (text.find(MARKS), text.rfind(MARKS)) {
        (Some(first), Some(last)) if first < last => {
            let end = text[last..].chars().next().map_or(last, |mark| last + mark.len_utf8());
            format!("{}\"…\"{}", &text[..first], &text[end..])
        }
        _ => text.to_owned(),
    }
}

/// An I/O error without the "(os error 111)" that tells an operator nothing.
pub(crate) fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by the other side".to_owned(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => {
            let text = error.to_string();
            match text.find(" (os error") {
                Some(end) => text[..end].to_lowercase(),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_is_left_out_whatever_it_holds_and_whatever_the_language() {
        for (text, shown) in [
            (
                "invalid input syntax for type integer: \"secret\"",
                "invalid input syntax for type integer: \"…\"",
            ),
            ("malformed array literal: \"{\"secret\",\"x\"\"", "malformed array literal: \"…\""),
            (
                "ungültige Eingabesyntax für Typ integer: »secret«",
                "ungültige Eingabesyntax für Typ integer: \"…\"",
            ),
            ("valeur « secret » invalide", "valeur \"…\" invalide"),
            ("division by zero", "division by zero"),
            ("one mark \" alone", "one mark \" alone"),
        ] {
            assert_eq!(without_quoted(text), shown);
        }
    }
}
