//! Keeps a password that was given on the command line out of the process list: the program starts itself again with
//! the connection string in its environment, which only the same user can read, and without it in its arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::failure::Failure;

/// Flags other than `--database-url` that take a connection string: what is said where one holds a password.
const OTHERS: [(&str, &str, &str); 2] = [
    (
        "--fallback-url",
        "--fallback-url holds a password, which the process list shows",
        "give it as PGKEEP_FALLBACK_URL, as fallback_urls in pgkeep.toml, or keep the password in ~/.pgpass",
    ),
    (
        "--at",
        "--at holds a password, which the process list shows",
        "give it as PGKEEP_AT, as at in pgkeep.toml, or keep the password in ~/.pgpass",
    ),
];

/// Starts the program again when `--database-url` holds a password; returns when no argument holds one.
pub fn conceal() -> Result<(), Failure> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let found = connection_strings(&arguments);
    for (flag, what, next) in OTHERS {
        if values_of(flag, &arguments).iter().any(|value| holds_password(value)) {
            return Err(Failure::usage(what).next(next));
        }
    }
    let elsewhere = |at: usize| !found.iter().any(|f| (f.first..=f.last).contains(&at));
    if arguments.iter().enumerate().skip(1).any(|(at, a)| elsewhere(at) && is_url_with_password(a)) {
        // Nothing else may complain of it: it would quote it.
        return Err(Failure::usage("a connection string stands where none is expected")
            .next("give it with -d, or better as PGKEEP_DATABASE_URL"));
    }
    // None, or several, about which the parser complains.
    let [only] = found.as_slice() else { return Ok(()) };
    if !holds_password(&only.value) {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|e| {
        Failure::from_io("finding this program's own file, to hide the password given to it", &e)
    })?;
    let kept = arguments.iter().enumerate().skip(1).filter(|(at, _)| elsewhere(*at)).map(|(_, a)| a);
    let mut again = Command::new(program);
    again.arg0(arguments.first().map_or(OsStr::new("pgkeep"), |a| a)).args(&only.others).args(kept);
    let error = again.env("PGKEEP_DATABASE_URL", &only.value).exec();
    Err(Failure::from_io("starting again without the password on the command line", &error))
}

/// A `--database-url` among the arguments.
#[derive(Debug, PartialEq)]
struct ConnectionString {
    /// Its first argument.
    first: usize,
    /// Its last argument: the same, or the next.
    last: usize,
    value: OsString,
    /// The switches that stand in one word with it, as `-q` in `-qd`.
    others: Option<OsString>,
}

fn connection_strings(arguments: &[OsString]) -> Vec<ConnectionString> {
    /// Switches that may stand before the `d` of `-d`.
    const SWITCHES: &[u8] = b"qvy";
    let mut found = Vec::new();
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            break;
        }
        let short = match bytes {
            [b'-', rest @ ..] if rest.first() != Some(&b'-') => {
                rest.iter().position(|b| !SWITCHES.contains(b))
            }
            _ => None,
        };
        let (joined, others) = match short {
            Some(switches) if bytes[1 + switches] == b'd' => {
                let others = (switches > 0).then(|| OsStr::from_bytes(&bytes[..=switches]).to_owned());
                (Some(&bytes[switches + 2..]), others)
            }
            _ if bytes == b"--database-url" => (Some(&b""[..]), None),
            _ => (bytes.strip_prefix(b"--database-url="), None),
        };
        let Some(joined) = joined else {
            at += 1;
            continue;
        };
        let joined = joined.strip_prefix(b"=").unwrap_or(joined);
        let separate = arguments.get(at + 1).filter(|_| joined.is_empty());
        let last = at + usize::from(separate.is_some());
        let value = separate.cloned().unwrap_or_else(|| OsStr::from_bytes(joined).to_owned());
        found.push(ConnectionString { first: at, last, value, others });
        at = last + 1;
    }
    found
}

/// The values of a flag.
fn values_of<'a>(flag: &str, arguments: &'a [OsString]) -> Vec<&'a OsStr> {
    let joined = |argument: &OsString| {
        let rest = argument.as_bytes().strip_prefix(flag.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let before: Vec<&OsString> = arguments.iter().take_while(|argument| *argument != "--").collect();
    let separate = before.windows(2).filter(|two| two[0] == flag).map(|two| two[1].as_os_str());
    separate
        .chain(before.iter().filter(|argument| joined(argument)).map(|argument| argument.as_os_str()))
        .collect()
}

/// Whether there may be a password in a connection string. To be wrong costs a few milliseconds.
fn holds_password(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    text.contains("password") || decoded(&text).contains("password") || is_url_with_password(value)
}

/// The text with `%6f` and the like as what they stand for, which names in a URL may be spelled with.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&piece[2..]);
            }
            None => out.push_str(piece),
        }
    }
    out
}

fn is_url_with_password(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.split_once(scheme));
    // A password may hold an `@` itself; a port stands behind the last one.
    let before_host = |rest: &str| rest.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'));
    rest.is_some_and(|(_, rest)| rest.contains("password=") || before_host(rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(arguments: &[&str]) -> Vec<(usize, usize, String, Option<String>)> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let text = |t: OsString| t.into_string().unwrap();
        connection_strings(&arguments)
            .into_iter()
            .map(|c| (c.first, c.last, text(c.value), c.others.map(text)))
            .collect()
    }

    #[test]
    fn the_connection_string_is_found_in_every_spelling() {
        let url = "postgres://u:p@h/d";
        let is = |first, last, others: Option<&str>| {
            vec![(first, last, url.to_owned(), others.map(str::to_owned))]
        };
        assert_eq!(found(&["pgkeep", "backup", "-d", url]), is(2, 3, None));
        assert_eq!(found(&["pgkeep", "--database-url", url, "list"]), is(1, 2, None));
        assert_eq!(found(&["pgkeep", "list", &format!("--database-url={url}")]), is(2, 2, None));
        assert_eq!(found(&["pgkeep", "list", &format!("-d{url}")]), is(2, 2, None));
        assert_eq!(found(&["pgkeep", "list", &format!("-d={url}")]), is(2, 2, None));
        assert_eq!(found(&["pgkeep", "list", "-qd", url]), is(2, 3, Some("-q")));
        assert_eq!(found(&["pgkeep", "list", &format!("-vyd{url}")]), is(2, 2, Some("-vy")));
        assert_eq!(found(&["pgkeep", "list", "-fd", url]), []);
        assert_eq!(found(&["pgkeep", "list", "--", "-d", url]), []);
        assert_eq!(found(&["pgkeep", "-"]), []);
    }

    #[test]
    fn whatever_may_be_a_password_is_taken_for_one() {
        for with in [
            "postgres://u:p%40@h/d",
            "postgres://u:p@x@h:5432/d",
            "postgresql://h/d?user=u&password=p",
            "postgres://u:p@:/%x@h/d",
            "host=h password='a b",
            "host=h password = x",
            "postgres://h/d?passw%6Frd=p",
        ] {
            assert!(holds_password(OsStr::new(with)), "{with}");
        }
        for without in
            ["postgres://u@h/d", "postgres://u@h:5432/d", "postgres://h:5432/d", "host=h user=u", "shop"]
        {
            assert!(!holds_password(OsStr::new(without)), "{without}");
        }
    }
}
