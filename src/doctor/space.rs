//! Room on this machine.

use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use super::Check;
use crate::failure::Failure;
use crate::folders::Folders;

/// Whether the database would fit where archives go.
pub async fn archives(client: &Client, folders: &Folders, restores: bool) -> Result<Check, Failure> {
    let folder = if restores { folders.safety_backups() } else { folders.backups() };
    // Indexes are not carried. Tables are never more than all of it, and asking for their sizes would wait for locks.
    let sql = "SELECT CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
                           THEN pg_catalog.pg_database_size(d.oid) END
                 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    let size: Option<i64> = client.query_typed(sql, &[]).await?[0].get(0);
    let at = nearest(&folder);
    let free = match rustix::fs::statvfs(&at) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let error = std::io::Error::from(error);
            return Ok(Check::failed(
                "disk",
                Failure::from_io(format!("looking at {}", at.display()), &error),
            ));
        }
    };
    let Some(size) = size.and_then(|size| u64::try_from(size).ok()) else {
        let found = format!(
            "{} free in {}; how large the database is may not be asked",
            bytes(free),
            folder.display()
        );
        return Ok(Check::pass("disk", found));
    };
    let found = format!("{} free in {}; the database has {}", bytes(free), folder.display(), bytes(size));
    let advice = "an archive takes a tenth to a third of the database, more where values are compressed already: free disk space, or choose another folder with --dir";
    // Less than a tenth is too little for nearly all databases, and a half enough for nearly all.
    Ok(match free {
        free if free < size / 10 && !restores => Check::fail("disk", found, advice),
        free if free < size / 2 => Check::warn("disk", found, advice),
        _ => Check::pass("disk", found),
    })
}

/// The folder, or the nearest above it that is there: a backup makes the others.
fn nearest(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|above| above.is_dir());
    there.filter(|above| !above.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Bytes as people say them.
fn bytes(number: u64) -> String {
    indicatif::HumanBytes(number).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_on_the_disk_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&folder.path().join("a/b/c")), folder.path());
        assert_eq!(nearest(Path::new("surely/not/there")), Path::new("."));
    }
}
