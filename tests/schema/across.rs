//! From a server to a newer one: what pgkeep makes there of an archive must be what `psql` makes there of pg_dump's
//! script.

use crate::support::{Pgkeep, difference};
use crate::{backup, chosen, judged, restore};

#[test]
fn an_archive_of_13_makes_on_18_what_a_script_of_pg_dump_makes() {
    across(13, 18);
}

#[test]
fn an_archive_of_15_makes_on_17_what_a_script_of_pg_dump_makes() {
    across(15, 17);
}

#[test]
fn an_archive_of_15_makes_on_18_what_a_script_of_pg_dump_makes() {
    across(15, 18);
}

fn across(old: u32, new: u32) {
    let (Some((_, old_cluster)), Some((client, new_cluster))) = (judged(old), judged(new)) else { return };
    let name = format!("from {old} to {new}");
    let original = old_cluster.database(&name);
    let [by_script, by_archive] =
        ["script", "archive"].map(|way| new_cluster.database(&format!("{name} by {way}")));
    for fixture in chosen().iter().filter(|f| f.runs_on(old_cluster) && f.runs_on(new_cluster)) {
        fixture.load_to_cross(&original.url, old, new).unwrap();
    }
    let script = client.dump(&original.url, &[]).unwrap();
    client.run_script(&by_script.url, &script).unwrap();
    let should = client.dump(&by_script.url, &[]).unwrap();

    let keeper = Pgkeep::new();
    let archive = backup(&keeper, &original.url, "original").unwrap();
    restore(&keeper, &by_archive.url, &archive).unwrap();
    let is = client.dump(&by_archive.url, &[]).unwrap();
    if let Some(shown) = difference(&should, &is) {
        panic!("pg_dump of the restored database differs from that of its script's:\n{shown}");
    }
}
