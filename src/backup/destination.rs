//! Where an archive's file appears, and under which name.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::dump::Dump;
use super::unfinished::mebibytes;
use crate::archive::error::ArchiveError;
use crate::archive::file::{self, AtomicFile};
use crate::archive::model::Header;
use crate::archive::writer::{ArchiveWriter, Summary};
use crate::failure::Failure;
use crate::folders;
use crate::postgres::connect::Session;

/// Dumps into a temporary file beside `path`; the caller commits it.
pub(super) async fn to_file(
    dump: Dump<'_>,
    session: &Session,
    workers: Vec<Session>,
    header: &Header,
    path: &Path,
) -> Result<(AtomicFile, Summary), Failure> {
    let creating = |e: ArchiveError| Failure::from_archive(&e);
    let file = AtomicFile::create(path).map_err(creating)?;
    let writer = ArchiveWriter::create(file, dump.compression, header).map_err(creating)?;
    dump.run(session, workers, writer).await
}

/// Dumps into a new file in `folder`, under the first free name that begins with `stem`.
pub async fn to_folder(
    dump: Dump<'_>,
    session: &Session,
    workers: Vec<Session>,
    header: &Header,
    folder: &Path,
    stem: &str,
) -> Result<(PathBuf, Summary), Failure> {
    folders::create_private_folder(folder)
        .map_err(|e| Failure::from_io(format!("creating folder {}", folder.display()), &e))?;
    // What a killed run left behind; a failure to tidy is no reason not to back up.
    for stale in file::remove_stale_temps(folder).unwrap_or_default() {
        let until = stale
            .written
            .map(|at| DateTime::<Utc>::from(at).format(" until %Y-%m-%d %H:%M:%S UTC").to_string());
        dump.events.info(format!(
            "an earlier backup was killed before its end: it had written {}{}, of a snapshot that is gone; that is removed, and this one starts anew",
            mebibytes(stale.bytes),
            until.unwrap_or_default()
        ));
    }
    let ending = dump.compression.extension();
    let first = folders::candidates(folder, stem, ending).find(|path| !path.exists());
    let first = first.unwrap_or_else(|| folder.join(format!("{stem}.{ending}")));
    let (mut file, summary) = to_file(dump, session, workers, header, &first).await?;
    for path in folders::candidates(folder, stem, ending) {
        match file.commit_as(&path) {
            Ok(()) => return Ok((path, summary)),
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(Failure::from_archive(&error)),
        }
    }
    Err(Failure::failed(format!("no free name like {stem}.{ending} in {}", folder.display())))
}
