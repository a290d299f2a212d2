//! What would act by itself, or upon other servers.

use crate::World;
use crate::support::{majors, shared};

#[test]
fn event_triggers_and_subscriptions_are_made_and_taken_back() {
    for major in majors() {
        let login = match major >= 17 {
            true => "CREATE FUNCTION entered() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.acts VALUES ('login'); END $$;
                     CREATE EVENT TRIGGER entering ON login EXECUTE FUNCTION entered(); ALTER EVENT TRIGGER entering ENABLE ALWAYS;",
            false => "",
        };
        let sql = format!(
            "CREATE TABLE acts (what text); CREATE TABLE t (a int PRIMARY KEY);
             CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.acts VALUES (tg_tag); END $$;
             CREATE SUBSCRIPTION rehearse_theirs CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'theirs');
             CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch();
             ALTER EVENT TRIGGER watching ENABLE ALWAYS; {login} TRUNCATE acts"
        );
        let world = World::on(Some(major), "rehearse_acting", &sql);
        let subscriptions = || world.database.value("SELECT count(*) || max(subname) FROM pg_subscription");
        assert_eq!(subscriptions(), "1rehearse_theirs");
        let report = world.pgkeep.ok(&["rehearse", &world.archive, "--json"]).json();
        assert_eq!(report["passed"], true, "{major}: {report:#}");
        let tried: Vec<&str> =
            report["tried"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let mut expected = vec!["EVENT TRIGGER watching", "SUBSCRIPTION rehearse_theirs"];
        if major >= 17 {
            expected.push("EVENT TRIGGER entering");
        }
        expected.sort_unstable();
        let mut sorted = tried.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{major}");
        assert_eq!(subscriptions(), "1rehearse_theirs");
        // What cannot be made is found out, and that is a failure.
        let broken = format!(
            "{sql}; CREATE ROLE rehearse_once SUPERUSER; ALTER EVENT TRIGGER watching OWNER TO rehearse_once; ALTER ROLE rehearse_once NOSUPERUSER"
        );
        let broken = broken.replace("rehearse_theirs", "rehearse_theirs_2");
        let other = World::on(Some(major), "rehearse_acting_2", &broken);
        let run = other.pgkeep.run(&["rehearse", &other.archive]);
        assert!(matches!(run.code, Some(1 | 5)), "{run:?}");
        run.says("making EVENT TRIGGER watching").says(" was removed, nothing else was touched");
        assert!(!crate::scratch(other.database.cluster).contains(&crate::named(&run.stderr)));
        for (world, name) in [(&world, "rehearse_theirs"), (&other, "rehearse_theirs_2")] {
            world.database.execute(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"));
            world.database.execute(&format!("DROP SUBSCRIPTION {name}"));
        }
    }
}

#[test]
fn jobs_are_left_out_with_what_needs_their_extension() {
    let Some(cluster) = majors().into_iter().map(|m| shared(Some(m))).find(|c| c.postgres.is_fetched())
    else {
        return;
    };
    assert!(cluster.install_extensions("supabase/extension"));
    let sql = "CREATE EXTENSION pg_cron; CREATE TABLE t (a int); INSERT INTO t VALUES (1);
               CREATE VIEW jobs AS SELECT jobname FROM cron.job; CREATE VIEW of_jobs AS SELECT * FROM jobs;
               SELECT cron.schedule('nightly', '0 3 * * *', 'DELETE FROM t');";
    let world = World::on(Some(cluster.postgres.major), "rehearse_jobs", sql);
    let report = world.pgkeep.ok(&["rehearse", &world.archive, "--json"]).json();
    assert_eq!(report["passed"], true, "{report:#}");
    let left: Vec<&str> =
        report["left_out"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    for identity in
        ["EXTENSION pg_cron", "VIEW public.jobs", "VIEW public.of_jobs", "JOB nightly OF postgres"]
    {
        assert!(left.contains(&identity), "{identity}: {left:?}");
    }
    assert_eq!(world.database.value("SELECT count(*) FROM cron.job"), "1");
}
