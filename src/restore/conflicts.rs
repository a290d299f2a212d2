//! Every row that both sides have and that differs, and which version was preferred by which rule: a file beside the restore
//! log, a JSON object a line. Keys and the columns that decided are in it, no other value.

use std::io::{BufWriter, Write};

use tokio_postgres::Client;

use super::attempt::{Attempt, Staged};
use super::log::{LogFile, RestoreLog};
use super::report;
use crate::failure::Failure;

impl Attempt<'_> {
    /// Writes the file, before any live row is changed, and names it in the log; none where nothing had to be preferred.
    pub(super) async fn write_conflicts(
        &self,
        staged: &[Staged],
        log: &mut RestoreLog,
    ) -> Result<(), Failure> {
        let decided = || staged.iter().filter(|s| !s.compared.decisions.is_empty());
        let Some(file) = self.file.filter(|_| decided().next().is_some()) else { return Ok(()) };
        log.conflicts_file = Some(write(&self.session.client, file, decided()).await?);
        Ok(())
    }
}

async fn write<'s>(
    client: &Client,
    log: &LogFile,
    staged: impl Iterator<Item = &'s Staged>,
) -> Result<String, Failure> {
    let (path, file) = log
        .beside("conflicts.jsonl")
        .map_err(|e| Failure::from_io("creating the file of conflicts beside the restore log", &e))?;
    let failed = |e: std::io::Error| Failure::from_io(format!("writing {}", path.display()), &e);
    let mut out = BufWriter::new(file);
    for at in staged {
        let mut lines = Vec::new();
        report::conflicts(client, &at.table, |line| {
            lines.clear();
            serde_json::to_writer(&mut lines, &line).map_err(std::io::Error::other).map_err(failed)?;
            lines.push(b'\n');
            out.write_all(&lines).map_err(failed)
        })
        .await?;
    }
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default())
}
