//! Where an archive's file appears, and under which name.

use std::path::{Path, PathBuf};

use super::dump::Dump;
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
    let _ = file::remove_stale_temps(folder);
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
