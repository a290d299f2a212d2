//! Into an empty database: what a restore makes there can be removed again, whatever it is, after a failure and by a
//! rollback.

use crate::fixture::{Fixture, prepare};
use crate::support::{Client, Pgkeep, majors, shared};
use crate::world::{explained, same, state};

/// A database with every kind of object on this major, its archive, and an empty database.
struct All {
    client: Client,
    keeper: Pgkeep,
    source: String,
    target: String,
    archive: String,
}

fn all_kinds(major: u32, name: &str, more: &str) -> Option<All> {
    if !majors().contains(&major) {
        return None;
    }
    let cluster = shared(Some(major));
    let client = Client::for_server(major)?;
    prepare(cluster);
    let [source, target] = ["source", "target"].map(|of| {
        cluster.create_database(&format!("{name} {of}"));
        cluster.url(&format!("{name} {of}"))
    });
    let only = std::env::var("PGKEEP_TEST_KINDS").ok();
    for fixture in Fixture::all() {
        let wanted = only.as_ref().is_none_or(|only| only.split(',').any(|kind| kind == fixture.kind));
        if wanted && fixture.runs_on(cluster) {
            fixture.load(&source, major).unwrap();
        }
    }
    crate::support::query(&source, more);
    let keeper = Pgkeep::on(&target);
    keeper.ok(&["backup", "-d", &source, "--out", "all.json.gz"]);
    Some(All { client, keeper, source, target, archive: "all.json.gz".to_owned() })
}

/// The last thing that a restore does fails in every database but one.
const FAILS_AT_THE_END: &str = r#"
    CREATE FUNCTION public.zz_boom() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN IF current_database() NOT LIKE '%source' THEN RAISE 'not here'; END IF; RETURN 1; END $$;
    CREATE MATERIALIZED VIEW public.zz_boom_view AS SELECT public.zz_boom() AS x;"#;

fn a_failure_at_the_end(major: u32) {
    let Some(all) = all_kinds(major, &format!("emptied {major}"), FAILS_AT_THE_END) else { return };
    let before = state(&all.client, &all.target);
    let run = explained(all.keeper.run(&["restore", "--file", &all.archive]), 1);
    run.says("zz_boom_view").says("not here").says("the target is as it was");
    same("after the failure", &before, &state(&all.client, &all.target));
    let log = all.keeper.restore_log();
    assert_eq!((&log["status"], &log["rolled_back"]), (&"rolled_back".into(), &true.into()), "{log:#}");
}

#[test]
fn a_failure_at_the_very_end_leaves_the_database_empty_again_on_13() {
    a_failure_at_the_end(13);
}

#[test]
fn a_failure_at_the_very_end_leaves_the_database_empty_again_on_18() {
    a_failure_at_the_end(18);
}

fn undone_and_redone(major: u32) {
    // It writes whatever a restore does, staging included: see the guide on event triggers that are always on.
    let quiet = "ALTER EVENT TRIGGER event_replica DISABLE";
    let Some(all) = all_kinds(major, &format!("refilled {major}"), quiet) else { return };
    let [should, before] = [&all.source, &all.target].map(|url| state(&all.client, url));
    all.keeper.ok(&["restore", "--safe", "--file", &all.archive]);
    same("after the restore", &should, &state(&all.client, &all.target));
    all.keeper.ok(&["rollback", "latest"]);
    same("after the rollback", &before, &state(&all.client, &all.target));
    all.keeper.ok(&["rollback", "latest"]);
    same("after the rollback of the rollback", &should, &state(&all.client, &all.target));
    all.keeper.ok(&["restore", "--safe", "--clean", "--file", &all.archive]);
    same("after a restore that cleans", &should, &state(&all.client, &all.target));
    all.keeper.ok(&["rollback", "latest"]);
    same("after that one's rollback", &should, &state(&all.client, &all.target));
}

#[test]
fn a_safe_restore_of_every_kind_is_undone_and_redone_on_13() {
    undone_and_redone(13);
}

#[test]
fn a_safe_restore_of_every_kind_is_undone_and_redone_on_18() {
    undone_and_redone(18);
}
