//! Where archives, logs and summaries lie, and what they are called.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// The root of `backups/`, `safety_backups/`, `summaries/` and `logs/`.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
}

/// Endings of an archive's name, in the order in which a bare name is looked up.
pub const ARCHIVE_ENDINGS: [&str; 3] = [".json.gz", ".json.zst", ".json"];

impl Folders {
    /// Folders below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Folders {
        Folders { root: root.into() }
    }

    /// Where backups lie.
    pub fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// Where safety backups lie.
    pub fn safety_backups(&self) -> PathBuf {
        self.root.join("safety_backups")
    }

    /// Where restore logs and backup summaries lie.
    pub fn summaries(&self) -> PathBuf {
        self.root.join("summaries")
    }

    /// Where log files lie.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Finds the archive that `name` means: a path, or a bare file name in `backups/` or `safety_backups/`, with
    /// or without its ending. The error lists where it was looked for.
    pub fn find_archive(&self, name: &str) -> Result<PathBuf, Vec<PathBuf>> {
        let given = Path::new(name);
        let mut bases = vec![given.to_path_buf()];
        if given.components().count() == 1 {
            bases.push(self.backups().join(given));
            bases.push(self.safety_backups().join(given));
        }
        let mut tried = Vec::new();
        for base in bases {
            for ending in ["", ".gz", ".zst"].iter().chain(&ARCHIVE_ENDINGS) {
                let mut text = base.clone().into_os_string();
                text.push(ending);
                let path = PathBuf::from(text);
                if path.is_file() {
                    return Ok(path);
                }
                tried.push(path);
            }
        }
        Err(tried)
    }

    /// The archives in a folder by name; none where the folder is not there. Temporary files are no archives.
    pub fn archives_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if !name.starts_with('.') && ARCHIVE_ENDINGS.iter().any(|e| name.ends_with(e)) && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

/// Creates a folder that only its owner may read, with those above it.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// `YYYYMMDD_HHMMSS` in UTC, as everywhere in logs: local time repeats an hour each autumn.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.format("%Y%m%d_%H%M%S").to_string()
}

/// A database name as the beginning of a file name: what a shell or a file system would stumble over becomes `_`, and
/// so does a `-` in front, which would make a flag of it.
pub fn file_part(database: &str) -> String {
    let safe: String = database
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
        .take(64)
        .collect();
    match safe.strip_prefix('-') {
        Some(rest) => format!("_{rest}"),
        None if safe.is_empty() => "_".to_owned(),
        None => safe,
    }
}

/// `folder/stem.ending`, then `folder/stem_2.ending` and so on: names to try until one is free.
pub fn candidates(folder: &Path, stem: &str, ending: &str) -> impl Iterator<Item = PathBuf> {
    let (folder, stem, ending) = (folder.to_path_buf(), stem.to_owned(), ending.to_owned());
    (1..10_000u32).map(move |n| {
        folder.join(if n == 1 { format!("{stem}.{ending}") } else { format!("{stem}_{n}.{ending}") })
    })
}

/// Creates a file that is not there yet and that only its owner may read.
pub fn create_private_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Creates a new private file under the first free of the [`candidates`] names.
pub fn create_unique(folder: &Path, stem: &str, ending: &str) -> io::Result<(PathBuf, fs::File)> {
    create_private_folder(folder)?;
    for path in candidates(folder, stem, ending) {
        match create_private_file(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("no free name like {stem}.{ending}")))
}

/// Replaces a file's content in one step: whoever reads it sees the old or the new content, also after a crash.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let temporary = folder.join(format!(".{name}.tmp-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        io::Write::write_all(&mut file, content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| {
        // The content did not change; a left-over temporary file would only be clutter.
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_archive_is_found_by_path_by_bare_name_and_without_its_ending() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::new(dir.path());
        create_private_folder(&folders.safety_backups()).unwrap();
        let path = folders.safety_backups().join("safety_backup_1.json.gz");
        fs::write(&path, b"x").unwrap();
        for name in ["safety_backup_1.json.gz", "safety_backup_1.json", "safety_backup_1"] {
            assert_eq!(folders.find_archive(name).unwrap(), path, "{name}");
        }
        assert_eq!(folders.find_archive(path.to_str().unwrap()).unwrap(), path);
        assert!(folders.find_archive("other").is_err());
        assert!(folders.find_archive("../safety_backups/safety_backup_1").is_err());
    }

    #[test]
    fn two_files_in_one_second_get_different_names() {
        let dir = tempfile::tempdir().unwrap();
        let a = create_unique(dir.path(), "log_1", "json").unwrap().0;
        let b = create_unique(dir.path(), "log_1", "json").unwrap().0;
        assert!(a.ends_with("log_1.json") && b.ends_with("log_1_2.json"));
    }

    #[test]
    fn odd_database_names_make_plain_file_names() {
        assert_eq!(file_part("my shop/..x"), "my_shop___x");
        assert_eq!(file_part(""), "_");
        assert_eq!(file_part("--safe"), "_-safe");
    }
}
