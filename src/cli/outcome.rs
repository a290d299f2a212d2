//! What became of a restore, on the screen.

use indicatif::HumanCount;

use super::context::count;
use super::differences;
use crate::restore::log::{RestoreLog, Status, TableOutcome};
use crate::restore::repair::ByReason;
use crate::restore::report::of_outcome;

/// Tables that are listed on the screen; the log has all.
const LISTED: usize = 50;

/// All of it, as lines; `file` is the log.
pub fn describe(log: &RestoreLog, file: Option<&str>) -> String {
    let tables = match log.operation.as_str() {
        "dry-run" => log.tables.clone(),
        _ => log.tables_restored.iter().map(|(shown, t)| (shown.clone(), of_outcome(t))).collect(),
    };
    let (mut text, changed) = differences::describe(&tables, "see the log");
    text += &repaired(log);
    text += &renamed(log);
    text += &objects(log);
    let empty = |(table, t): &(&String, &TableOutcome)| {
        t.inserted + t.updated + t.deleted + t.unchanged + t.kept == 0
            && log.after_counts.get(*table) == Some(&0)
    };
    let empty = log.tables_restored.iter().filter(empty).count();
    let unchanged = log.tables_restored.len().saturating_sub(changed + empty);
    for (number, what) in [(unchanged, "unchanged"), (empty, "empty")] {
        if number > 0 {
            text += &format!("  {} {what}\n", count(number as u64, "table"));
        }
    }
    for failed in &log.tables_failed {
        text += &format!("  {}: NOT RESTORED: {}\n", failed.table, failed.error);
    }
    for refused in log.rows_refused.iter().take(LISTED) {
        text +=
            &format!("  {}: {} NOT RESTORED: {}\n", refused.table, count(refused.rows, "row"), refused.error);
    }
    if log.rows_refused.len() > LISTED {
        text += &format!("  and {} more reasons, see the log\n", log.rows_refused.len() - LISTED);
    }
    if !log.statements_left.is_empty() {
        let left = &log.statements_left;
        text += &format!("  {} left to somebody who may run them:\n", count(left.len() as u64, "statement"));
        for statement in left.iter().take(LISTED) {
            text += &format!("    {};\n", statement.sql);
        }
        if left.len() > LISTED {
            text += &format!("    and {} more, see the log\n", left.len() - LISTED);
        }
    }
    let failed = log.checks.iter().filter(|check| !check.passed).count();
    text += &match (log.checks.len(), failed) {
        (0, _) => String::new(),
        (1, 0) => "  the check passes\n".to_owned(),
        (all, 0) => format!("  all {all} checks pass\n"),
        (all, failed) => format!("  {failed} of {} failed\n", count(all as u64, "check")),
    };
    let verb = match (log.operation.as_str(), log.status) {
        ("dry-run", _) if !log.repairs.is_empty() => "would repair (nothing was changed)",
        ("dry-run", _) => "would restore (nothing was changed)",
        ("repair", Status::Partial) => "repaired in part",
        ("repair", _) => "repaired and verified",
        (_, Status::Partial) => "restored in part",
        ("rollback", _) => "rolled back and verified",
        _ => "restored and verified",
    };
    text += &format!(
        "{verb}: {} inserted, {} updated, {} deleted in {}",
        HumanCount(log.total_inserted),
        HumanCount(log.total_updated),
        HumanCount(log.total_deleted),
        log.target
    );
    if let Some(file) = file {
        text += &format!("\n  log:  {file}");
    }
    if let Some(conflicts) = &log.conflicts_file {
        text += &format!("\n  rows of which one version was preferred: {conflicts}, beside the log");
    }
    if let Some(safety) = &log.safety_backup_file {
        text += &format!("\n  undo: pgkeep rollback {safety}");
    }
    if let Some(rejects) = &log.reject_file {
        let rows: u64 = log.rows_refused.iter().map(|refused| refused.rows).sum();
        text += &format!(
            "\n  {} refused: {} in {rejects}\n  when the cause is removed: pgkeep restore --safe --file {rejects}",
            count(rows, "row"),
            if rows == 1 { "it is" } else { "they are" }
        );
    }
    text + "\n"
}

/// Why rows were repaired, and which could not be.
fn repaired(log: &RestoreLog) -> String {
    let listed = |reasons: &ByReason| {
        let all: Vec<String> = reasons.iter().map(|(reason, rows)| format!("{rows} {reason}")).collect();
        all.join(", ")
    };
    let mut text = String::new();
    for (table, repaired) in log.repairs.iter().filter(|(_, r)| !r.found.is_empty()) {
        text += &format!("  {table}: why: {}\n", listed(&repaired.found));
    }
    for (table, repaired) in log.repairs.iter().filter(|(_, r)| !r.left.is_empty()) {
        text +=
            &format!("  {table}: NOT REPAIRED, the archive has them no better: {}\n", listed(&repaired.left));
    }
    text
}

/// Which tables go by other names.
fn renamed(log: &RestoreLog) -> String {
    let names: Vec<String> = log.mapped.iter().map(|(new, old)| format!("{old} as {new}")).collect();
    match names.is_empty() {
        true => String::new(),
        false => {
            format!("  {} under another name: {}\n", count(names.len() as u64, "table"), abridged(&names))
        }
    }
}

/// What became of objects.
fn objects(log: &RestoreLog) -> String {
    let mut text = String::new();
    if log.objects_created > 0 {
        text += &format!("  {} made\n", count(log.objects_created, "object"));
    }
    for (list, verb) in [(&log.objects_replaced, "replaced"), (&log.objects_removed, "removed")] {
        if !list.is_empty() {
            text += &format!("  {} {verb}: {}\n", count(list.len() as u64, "object"), abridged(list));
        }
    }
    if !log.roles_created.is_empty() {
        let roles = &log.roles_created;
        text += &format!(
            "  {} made, of the whole cluster, so that a rollback leaves them: {}\n",
            count(roles.len() as u64, "role"),
            abridged(roles)
        );
    }
    if !log.objects_differing.is_empty() {
        let differing: Vec<String> =
            log.objects_differing.iter().map(|(identity, what)| format!("{identity} ({what})")).collect();
        text += &format!(
            "  {} left as the target has it, though it differs from the archive: {}\n    see: pgkeep diff {} live --schema\n",
            count(differing.len() as u64, "object"),
            abridged(&differing),
            log.backup_file
        );
    }
    text
}

/// The first of them.
pub fn abridged(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    let more = if names.len() > shown.len() {
        format!(" and {} more", names.len() - shown.len())
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}
