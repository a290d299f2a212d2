//! Passwords: a type that cannot be printed by accident, and the places other than a URL that one may come from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// No password has more bytes. libpq and most servers stop at far fewer.
const LONGEST: u64 = 64 * 1024;

/// A password. `Debug` and `Display` print `***`, so that it cannot reach a log, an error or an archive.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Secret(password.into())
    }

    /// The password itself, for the one place that hands it to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it has no characters; libpq takes an empty password as none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a password could not be had from a file or a command. Never holds what the file or the command said.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the password file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command cannot be started.
    #[error("cannot run the password command")]
    Start(#[source] std::io::Error),
    /// The command ran and failed.
    #[error("the password command failed ({0})")]
    Failed(std::process::ExitStatus),
    /// What came is not UTF-8 text.
    #[error("the password from {0} is not UTF-8 text")]
    NotText(&'static str),
    /// What came goes on and on: a device, or another file than was meant.
    #[error("the password from {0} is too long to be one")]
    Long(&'static str),
    /// What came is empty.
    #[error("the password from {0} is empty")]
    Empty(&'static str),
}

/// The password that a file holds: its content without one newline at the end.
pub fn from_file(path: &Path) -> Result<Secret, SecretError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut content))
        .map_err(|source| SecretError::File { path: path.to_owned(), source })?;
    from_bytes(content, "the password file")
}

/// The password that a shell command prints: its standard output without one newline at the end.
///
/// The command gets no input, and what it writes to standard error is thrown away: it might quote the secret.
pub fn from_command(command: &str) -> Result<Secret, SecretError> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(SecretError::Start)?;
    if !output.status.success() {
        return Err(SecretError::Failed(output.status));
    }
    from_bytes(output.stdout, "the password command")
}

fn from_bytes(mut bytes: Vec<u8>, origin: &'static str) -> Result<Secret, SecretError> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(SecretError::Empty(origin));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(SecretError::Long(origin));
    }
    String::from_utf8(bytes).map(Secret).map_err(|_| SecretError::NotText(origin))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "*** *** Some(\n    ***,\n)");
    }

    #[test]
    fn a_password_file_loses_one_newline_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, " a b\n\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose(), " a b\n");
        std::fs::write(&path, "x\r\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose(), "x");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(from_file(&path), Err(SecretError::Empty(_))));
        let missing = from_file(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"));
        assert!(matches!(from_file(Path::new("/dev/zero")), Err(SecretError::Long(_))));
    }

    #[test]
    fn a_password_command_gives_its_output_and_a_failing_one_does_not_leak_it() {
        assert_eq!(from_command("printf 'p@ss:%%/w\\n'").unwrap().expose(), "p@ss:%/w");
        let error = from_command("echo hunter2; echo hunter2 >&2; exit 3").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(error.to_string().contains('3'));
    }
}
