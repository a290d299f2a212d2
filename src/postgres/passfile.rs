//! `.pgpass`: passwords by host, port, database and user
//! (<https://www.postgresql.org/docs/current/libpq-pgpass.html>).

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::secret::Secret;

/// What a password is looked up for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Host name, address, socket folder, or `localhost` for the default socket folder.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: &'a str,
    /// User.
    pub user: &'a str,
}

/// Reads a password file. A missing file is no file; one that others may read, or that is not a plain file, is
/// ignored with a warning, as libpq does.
pub fn read(path: &Path, warnings: &mut Vec<String>) -> Option<String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        Err(error) => {
            warnings.push(format!("password file {} is ignored: {error}", path.display()));
            return None;
        }
    };
    if !metadata.is_file() {
        warnings.push(format!("password file {} is ignored: it is not a plain file", path.display()));
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        warnings.push(format!(
            "password file {} is ignored: others may read it; its permissions should be 0600 or less",
            path.display()
        ));
        return None;
    }
    match std::fs::read(path) {
        // Lines are matched as text; one that is not UTF-8 can match nothing that we hold.
        Ok(content) => Some(String::from_utf8_lossy(&content).into_owned()),
        Err(error) => {
            warnings.push(format!("password file {} is ignored: {error}", path.display()));
            None
        }
    }
}

/// The password of the first line that matches.
pub fn find(content: &str, wanted: Wanted<'_>) -> Option<Secret> {
    let port = wanted.port.to_string();
    content.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = Fields(Some(line.strip_suffix('\r').unwrap_or(line)));
        for value in [wanted.host, &port, wanted.database, wanted.user] {
            let field = fields.next()?;
            if field.raw != "*" && field.text != value {
                return None;
            }
        }
        fields.next().map(|field| Secret::new(field.text)).filter(|secret| !secret.is_empty())
    })
}

/// Fields between unescaped colons; a backslash takes the next character as it is.
struct Fields<'a>(Option<&'a str>);

struct Field<'a> {
    raw: &'a str,
    text: String,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.0?;
        let mut text = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                ':' => {
                    self.0 = Some(&rest[at + 1..]);
                    return Some(Field { raw: &rest[..at], text });
                }
                '\\' => text.push(chars.next().map_or('\\', |(_, next)| next)),
                other => text.push(other),
            }
        }
        self.0 = None;
        Some(Field { raw: rest, text })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn look(content: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        find(content, Wanted { host, port, database, user }).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_first_matching_line_wins() {
        let file = "# a comment\n\ndb:5432:shop:app:one\n*:*:*:app:two\n*:*:*:*:three\n";
        assert_eq!(look(file, "db", 5432, "shop", "app").unwrap(), "one");
        assert_eq!(look(file, "db", 5433, "shop", "app").unwrap(), "two");
        assert_eq!(look(file, "db", 5432, "shop", "root").unwrap(), "three");
        assert_eq!(look("db:5432:shop:app:one", "other", 5432, "shop", "app"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let file = r"fe80\:\:1:5432:sh\\op:a\:b:p\:w\\%@/";
        assert_eq!(look(file, "fe80::1", 5432, r"sh\op", "a:b").unwrap(), r"p:w\%@/");
        assert_eq!(look("h:5432:d:u:pw:rest", "h", 5432, "d", "u").unwrap(), "pw");
        assert_eq!(look(r"\*:5432:d:u:pw", "h", 5432, "d", "u"), None);
    }

    #[test]
    fn short_and_empty_lines_match_nothing() {
        assert_eq!(look("h:5432:d:u", "h", 5432, "d", "u"), None);
        assert_eq!(look("h:5432:d:u:", "h", 5432, "d", "u"), None);
        assert_eq!(look("h:5432:d:u:x\r\n", "h", 5432, "d", "u").unwrap(), "x");
        assert_eq!(look("", "h", 5432, "d", "u"), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored_with_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:x\n").unwrap();
        let mut warnings = Vec::new();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path, &mut warnings), None);
        assert!(warnings[0].contains("0600"), "{warnings:?}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path, &mut warnings).is_some());
        assert_eq!(read(&folder.path().join("none"), &mut warnings), None);
        assert_eq!(warnings.len(), 1);
        assert_eq!(read(folder.path(), &mut warnings), None);
        assert!(warnings[1].contains("not a plain file"), "{warnings:?}");
    }
}
