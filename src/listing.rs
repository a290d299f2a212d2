//! What archives there are, and which of them have been proven whole.
//!
//! A proof is noted in `summaries/verified.jsonl`: the file's name, the SHA-256 of its index, which covers every byte,
//! and when the file was last written, and so is damage that was found. What was noted of a file that was changed,
//! exchanged or copied since does not count. (A bit that rots on the disk changes no time: only reading finds it.)

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::archive::model::Guards;
use crate::archive::reader::Archive;
use crate::folders::{self, Folders};

/// One archive of a folder.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// File name.
    pub file: String,
    /// When its snapshot was taken.
    pub created_at: Option<DateTime<Utc>>,
    /// Database name.
    pub database: Option<String>,
    /// Tables in it.
    pub tables: Option<u64>,
    /// Rows in it.
    pub rows: Option<u64>,
    /// File size in bytes.
    pub bytes: u64,
    /// Whether it has been proven whole, as it is now.
    pub verified: bool,
    /// For a safety backup: file name of the log of the restore that it guards.
    pub guards: Option<String>,
    /// Whether it was found damaged, as it is now.
    #[serde(skip)]
    pub damaged: bool,
    /// Why it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where it is.
    #[serde(skip)]
    pub path: PathBuf,
    /// The whole of what it guards.
    #[serde(skip)]
    pub guard: Option<Guards>,
    /// `system_identifier` of the server that it came from.
    #[serde(skip)]
    pub system_identifier: Option<String>,
}

/// The archives of `folder`, oldest first. Files that cannot be opened are listed with the reason.
pub fn list(folders: &Folders, folder: &Path) -> io::Result<Vec<Entry>> {
    let proven = read_verified(folders)?;
    let mut entries: Vec<Entry> =
        Folders::archives_in(folder)?.into_iter().map(|p| entry(p, &proven)).collect();
    entries.sort_by(|a, b| (age(a), &a.file).cmp(&(age(b), &b.file)));
    Ok(entries)
}

/// Safety backups are ordered by their count, which no clock can turn back; others by time.
fn age(entry: &Entry) -> (u64, Option<DateTime<Utc>>) {
    (entry.guard.as_ref().map_or(0, |g| g.ordinal), entry.created_at)
}

fn entry(path: PathBuf, proven: &Proofs) -> Entry {
    let mut entry = Entry {
        file: name(&path),
        created_at: None,
        database: None,
        tables: None,
        rows: None,
        bytes: fs::metadata(&path).map(|m| m.len()).unwrap_or(0),
        verified: false,
        guards: None,
        damaged: false,
        error: None,
        path,
        guard: None,
        system_identifier: None,
    };
    match Archive::open(&entry.path) {
        Ok(archive) => {
            let header = archive.header();
            entry.created_at = Some(header.created_at);
            entry.database = Some(header.source.database.clone());
            entry.tables = Some(header.tables.iter().filter(|t| !t.large_objects).count() as u64);
            entry.rows = Some(archive.totals().rows);
            let key = (entry.file.clone(), archive.index_sha256().to_owned());
            let last = proven.get(&key).filter(|(then, _)| *then == modified(&entry.path));
            entry.verified = last.is_some_and(|(_, whole)| *whole);
            entry.damaged = last.is_some_and(|(_, whole)| !whole);
            entry.guards = header.guards.as_ref().map(|g| g.restore_log.clone());
            entry.guard = header.guards.clone();
            entry.system_identifier = header.source.system_identifier.clone();
        }
        Err(error) => entry.error = Some(error.to_string()),
    }
    entry
}

/// One more than the highest count of the safety backups in `folder`.
pub fn next_ordinal(folder: &Path) -> io::Result<u64> {
    let paths = Folders::archives_in(folder)?;
    let ordinals =
        paths.iter().filter_map(|p| Archive::open(p).ok()?.header().guards.as_ref().map(|g| g.ordinal));
    Ok(ordinals.max().unwrap_or(0) + 1)
}

#[derive(Serialize, Deserialize)]
struct Proof {
    file: String,
    index_sha256: String,
    /// When the file was last written.
    modified: Option<DateTime<Utc>>,
    verified_at: DateTime<Utc>,
    whole: bool,
}

/// For each file and index, when the file that was read had been written, and whether it was whole.
type Proofs = HashMap<(String, String), (Option<DateTime<Utc>>, bool)>;

fn proofs(folders: &Folders) -> PathBuf {
    folders.summaries().join("verified.jsonl")
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn modified(path: &Path) -> Option<DateTime<Utc>> {
    fs::metadata(path).and_then(|m| m.modified()).ok().map(DateTime::from)
}

/// Notes that every byte of an archive was read and whether it is whole. Damage is only noted of what the lists show.
pub fn mark_verified(folders: &Folders, path: &Path, index_sha256: &str, whole: bool) -> io::Result<()> {
    let listed = [folders.backups(), folders.safety_backups()].iter().any(|f| f.join(name(path)).is_file());
    if !whole && !listed {
        return Ok(());
    }
    folders::create_private_folder(&folders.summaries())?;
    let proof = Proof {
        file: name(path),
        index_sha256: index_sha256.to_owned(),
        modified: modified(path),
        verified_at: Utc::now(),
        whole,
    };
    let mut line = serde_json::to_vec(&proof)?;
    line.push(b'\n');
    // One short write to the end: two processes cannot tear each other's lines apart.
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(proofs(folders))?.write_all(&line)
}

fn read_verified(folders: &Folders) -> io::Result<Proofs> {
    let text = match fs::read_to_string(proofs(folders)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Proofs::new()),
        Err(error) => return Err(error),
    };
    let mut found = Proofs::new();
    // A line torn by a crash proves nothing, and hides no other.
    for proof in text.lines().filter_map(|l| serde_json::from_str::<Proof>(l).ok()) {
        found.insert((proof.file, proof.index_sha256), (proof.modified, proof.whole));
    }
    Ok(found)
}
