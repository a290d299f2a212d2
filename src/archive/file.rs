//! Files that appear under their name only when they are whole, and never in place of another.
//!
//! The bytes go to a hidden temporary file in the same folder, which its writer holds locked. To commit is: sync the
//! file, link it to its name (which fails when the name exists), remove the temporary name, sync the folder. A crash
//! at any point leaves either no file of that name or the whole one, and perhaps a temporary file whose lock died with
//! its writer: [`remove_stale_temps`] takes such files away.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use super::error::ArchiveError;

/// Stands between the final name and the number of the process in a temporary name.
const MARK: &[u8] = b".pgkeep-tmp-";
/// A name has at most 255 bytes on every file system that matters; the rest is for dot, mark and numbers.
const MOST_NAME: usize = 200;

/// After so many bytes the system is told to begin to write them to disk. Else it would wait until it holds many more, and
/// `commit` for all of them.
const WRITTEN_BEHIND: u64 = 8 << 20;
/// As large as pages are on any common machine.
const PAGE: u64 = 64 << 10;

/// A file that is being written and has no name yet. Dropped without [`commit`](Self::commit), it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    /// Holds the lock.
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    /// Bytes up to now, and those of them that the system has been told to write.
    length: u64,
    begun: u64,
    committed: bool,
}

impl AtomicFile {
    /// Begins a file that will be `path`, readable and writable by its owner only. Fails when `path` exists.
    pub fn create(path: &Path) -> Result<Self, ArchiveError> {
        let io = |source| ArchiveError::Io { action: "create", path: path.to_owned(), source };
        let name = path.file_name().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
        if fs::symlink_metadata(path).is_ok() {
            return Err(io(io::ErrorKind::AlreadyExists.into()));
        }
        let (file, temporary) = create_temporary(folder_of(path), name).map_err(io)?;
        Ok(AtomicFile { file, temporary, path: path.to_owned(), length: 0, begun: 0, committed: false })
    }

    /// The name that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file appear under its name, on disk for good, and returns the name. Fails when the name exists by
    /// now; then, as after any other failure, the temporary file is removed. Only when syncing the folder fails
    /// does the file stay although an error is returned: it is whole, but may not survive a power cut.
    pub fn commit(mut self) -> Result<PathBuf, ArchiveError> {
        let path = self.path.clone();
        self.commit_as(&path)?;
        Ok(path)
    }

    /// As [`commit`](Self::commit) under another name in the same folder. When that name exists, the file is kept, so
    /// that a next name can be tried.
    pub fn commit_as(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let io = |source| ArchiveError::Io { action: "create", path: path.to_owned(), source };
        self.file.sync_all().map_err(io)?;
        publish(&self.temporary, path).map_err(io)?;
        self.committed = true;
        sync_folder(folder_of(path)).map_err(io)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        // Whole pages: the next bytes need not wait until the last one is on disk.
        let end = self.length & !(PAGE - 1);
        if end.saturating_sub(self.begun) >= WRITTEN_BEHIND {
            begin_to_write(&self.file, self.begun, end - self.begun);
            self.begun = end;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Tells the system to begin to write a part of a file to disk, and does not wait for it. On Linux that is what it does
/// with changed pages that will not be needed (`mm/fadvise.c`); they stay in its cache until they are written. Where it
/// cannot be told, all is written in the end.
#[cfg(target_os = "linux")]
fn begin_to_write(file: &File, offset: u64, length: u64) {
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn begin_to_write(_: &File, _: u64, _: u64) {}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to tell; a later run takes it away.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// A file that a killed process has left.
#[derive(Debug)]
pub struct Stale {
    /// How long it was.
    pub bytes: u64,
    /// When it was last written to.
    pub written: Option<SystemTime>,
}

/// Removes temporary files of writers that are gone from a folder, and returns what they were. Files whose
/// writer is alive, on this machine or (where the file system shares locks) another, are left alone. A folder that does
/// not exist has none.
pub fn remove_stale_temps(folder: &Path) -> Result<Vec<Stale>, ArchiveError> {
    let io = |source| ArchiveError::Io { action: "tidy", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut removed = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        if !is_temporary_name(&entry.file_name()) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        // A file that cannot be opened or locked belongs to somebody.
        let Ok(file) = File::open(&path) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && fs::remove_file(&path).is_ok()
        {
            let metadata = file.metadata().ok();
            removed.push(Stale {
                bytes: metadata.as_ref().map_or(0, fs::Metadata::len),
                written: metadata.and_then(|m| m.modified().ok()),
            });
        }
    }
    Ok(removed)
}

fn create_temporary(folder: &Path, name: &OsStr) -> io::Result<(File, PathBuf)> {
    let process = std::process::id();
    let start = &name.as_bytes()[..name.len().min(MOST_NAME)];
    let mut number = 0_u64;
    loop {
        let mut temporary = [b".", start, MARK].concat();
        temporary.extend_from_slice(format!("{process}-{number}").as_bytes());
        let path = folder.join(OsString::from_vec(temporary));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // Where there are no locks nobody else gets one either, and nothing is taken for stale.
                let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
                // Somebody who tidied between the two calls has removed it.
                if file.metadata()?.nlink() > 0 {
                    return Ok((file, path));
                }
            }
        }
        number += 1;
    }
}

fn is_temporary_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let Some(mark) = memchr::memmem::rfind(name, MARK) else { return false };
    let mut numbers = name[mark + MARK.len()..].split(|byte| *byte == b'-');
    let is_number = |part: Option<&[u8]>| {
        part.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
    };
    name.starts_with(b".")
        && mark > 1
        && is_number(numbers.next())
        && is_number(numbers.next())
        && numbers.next().is_none()
}

/// Gives the file its name, never in place of another file.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        // The file has its name; that the temporary one stays would be ugly, but no harm.
        Ok(()) => {
            let _ = fs::remove_file(temporary);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Some file systems have no hard links.
        Err(_) => publish_by_renaming(temporary, path),
    }
}

/// Reserves the name with an empty file, which fails when it exists, and renames over that. A crash between the two
/// leaves an empty file, which every reader calls empty.
fn publish_by_renaming(temporary: &Path, path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    fs::rename(temporary, path).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems cannot sync folders, and have nothing to sync.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_committed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists());
        assert_eq!(file.commit().unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_file_whose_writing_to_disk_has_begun_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let bytes: Vec<u8> = (0..3 * WRITTEN_BEHIND + 5).map(|n| ((n * n) >> 7) as u8).collect();
        let mut file = AtomicFile::create(&path).unwrap();
        bytes.chunks(1_000_003).for_each(|piece| file.write_all(piece).unwrap());
        assert!(file.begun >= 2 * WRITTEN_BEHIND && file.begun <= file.length);
        file.commit().unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn a_file_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&folder.path().join("a.json")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_existing_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let file = AtomicFile::create(&path).unwrap();
        fs::write(&path, b"other").unwrap();
        assert_eq!(file.commit().unwrap_err().io_kind(), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(AtomicFile::create(&path).unwrap_err().io_kind(), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn without_hard_links_an_existing_file_is_not_replaced_either() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, path) = (folder.path().join("t"), folder.path().join("a.json"));
        fs::write(&temporary, b"whole").unwrap();
        publish_by_renaming(&temporary, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        fs::write(&temporary, b"second").unwrap();
        publish_by_renaming(&temporary, &path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn tidying_removes_what_a_dead_writer_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let alive = AtomicFile::create(&folder.path().join("alive.json")).unwrap();
        let kept =
            [".x.pgkeep-tmp-1", ".x.pgkeep-tmp-1-x", "x.pgkeep-tmp-1-0", ".pgkeep-tmp-1-0", "backup.json.gz"];
        for name in kept {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        // The number of a process that lives does not save a file whose lock is gone.
        let process = std::process::id();
        fs::write(folder.path().join(format!(".dead.json.pgkeep-tmp-{process}-7")), b"half").unwrap();
        assert_eq!(remove_stale_temps(folder.path()).unwrap().len(), 1);
        assert_eq!(names(folder.path()).len(), kept.len() + 1);
        alive.commit().unwrap();
        assert!(remove_stale_temps(&folder.path().join("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn a_name_of_full_length_and_of_any_bytes_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        for name in [vec![b'x'; 255], b"\xff\xfe \n\"".to_vec()] {
            let path = folder.path().join(OsString::from_vec(name));
            AtomicFile::create(&path).unwrap().commit().unwrap();
            assert!(path.exists());
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let error = AtomicFile::create(Path::new("/nonexistent/a.json")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create /nonexistent/a.json: "));
    }
}
