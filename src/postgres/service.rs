//! `pg_service.conf`: named sets of connection parameters
//! (<https://www.postgresql.org/docs/current/libpq-pgservice.html>). The LDAP look-ups that libpq can be built
//! with are not supported.

use std::path::{Path, PathBuf};

/// Why a service cannot be used. Lines are named by number only: they may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No file defines it.
    #[error("the definition of service \"{service}\" is not found ({})", shown(searched))]
    NotFound {
        /// The service.
        service: String,
        /// The files that were looked at.
        searched: Vec<PathBuf>,
    },
    /// The file that was named outright is missing or unreadable.
    #[error("cannot read the service file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is no `name=value`.
    #[error("line {line} of the service file {} is not of the form name=value", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A parameter that nobody knows.
    #[error("line {line} of the service file {} sets an unknown parameter", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A service that refers to a service.
    #[error("line {line} of the service file {}: a service cannot refer to a service", path.display())]
    Nested {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// LDAP.
    #[error("line {line} of the service file {}: LDAP look-ups are not supported", path.display())]
    Ldap {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

fn shown(searched: &[PathBuf]) -> String {
    match searched {
        [] => "there is no service file; set PGSERVICEFILE or write ~/.pg_service.conf".to_owned(),
        files => {
            let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
            format!("looked in {}", names.join(", "))
        }
    }
}

/// Where service files are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `PGSERVICEFILE`: must exist, and replaces the one of the home folder.
    pub named: Option<PathBuf>,
    /// `~/.pg_service.conf`.
    pub home: Option<PathBuf>,
    /// The system's files, in order.
    pub system: Vec<PathBuf>,
}

/// The parameters of a service, in the order written, from the first file that defines it.
///
/// `is_known` tells the names of parameters.
pub fn load(
    service: &str,
    places: &Places,
    is_known: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, ServiceError> {
    let mut searched = Vec::new();
    let own = places.named.as_ref().or(places.home.as_ref());
    for (index, path) in own.into_iter().chain(&places.system).enumerate() {
        let required = index == 0 && places.named.is_some();
        let content = match std::fs::read(path) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => continue,
            Err(source) => return Err(ServiceError::File { path: path.clone(), source }),
        };
        if let Some(params) = find(&content, service, path, is_known)? {
            return Ok(params);
        }
        searched.push(path.clone());
    }
    Err(ServiceError::NotFound { service: service.to_owned(), searched })
}

/// A section's lines, or `None` when the file has no such section.
fn find(
    content: &str,
    service: &str,
    path: &Path,
    is_known: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<(String, String)>>, ServiceError> {
    let mut params: Option<Vec<(String, String)>> = None;
    for (index, line) in content.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if params.is_some() {
                break;
            }
            if header.strip_suffix(']') == Some(service) {
                params = Some(Vec::new());
            }
            continue;
        }
        let Some(params) = &mut params else { continue };
        let path = || path.to_owned();
        if line.starts_with("ldap") {
            return Err(ServiceError::Ldap { path: path(), line: number });
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(ServiceError::Syntax { path: path(), line: number });
        };
        if name == "service" {
            return Err(ServiceError::Nested { path: path(), line: number });
        }
        if !is_known(name) {
            return Err(ServiceError::Unknown { path: path(), line: number });
        }
        params.push((name.to_owned(), value.to_owned()));
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn section(content: &str, service: &str) -> Result<Option<Vec<(String, String)>>, ServiceError> {
        find(content, service, Path::new("f"), &|name| name != "hots")
    }

    #[test]
    fn a_section_ends_at_the_next_one() {
        let file = "# c\nhost=outside\n[a]\nhost=ha\nport=1\n\n[b]\nhost=hb\n  password=x = y \n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(section(file, "a").unwrap().unwrap(), [pair("host", "ha"), pair("port", "1")]);
        assert_eq!(section(file, "b").unwrap().unwrap(), [pair("host", "hb"), pair("password", "x = y")]);
        assert!(section(file, "c").unwrap().is_none());
    }

    #[test]
    fn bad_lines_are_named_by_number_and_not_quoted() {
        let error = section("[a]\nhost=h\npassword hunter2\n", "a").unwrap_err();
        assert_eq!(error.to_string(), "line 3 of the service file f is not of the form name=value");
        assert!(matches!(section("[a]\nservice=b\n", "a"), Err(ServiceError::Nested { line: 2, .. })));
        assert!(matches!(section("[a]\nldap://x\n", "a"), Err(ServiceError::Ldap { line: 2, .. })));
        let error = section("[a]\nhots=h\n", "a").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the service file f sets an unknown parameter");
        assert!(section("rubbish\n[a]\n", "a").unwrap().unwrap().is_empty());
    }

    #[test]
    fn the_first_file_that_defines_the_service_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let places = Places {
            named: None,
            home: Some(file("home", "[a]\nhost=home\n")),
            system: vec![folder.path().join("none"), file("system", "[a]\nhost=system\n[b]\nhost=b\n")],
        };
        assert_eq!(load("a", &places, &|_| true).unwrap()[0].1, "home");
        assert_eq!(load("b", &places, &|_| true).unwrap()[0].1, "b");
        let error = load("c", &places, &|_| true).unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("system"), "{error}");
        let named = Places { named: Some(folder.path().join("none")), ..places };
        assert!(matches!(load("a", &named, &|_| true), Err(ServiceError::File { .. })));
    }
}
