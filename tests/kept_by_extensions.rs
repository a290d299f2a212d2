//! What extensions keep for their users, on a server that is nobody's: queues and jobs come by the functions that make
//! them, whether the target is empty or holds something.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Cluster, Options, Pgkeep, Rows, majors, query};

/// A server into which the imitations of pgmq and pg_cron could be put.
fn cluster() -> Option<Cluster> {
    let major = majors().into_iter().find(|major| *major == 17)?;
    let cluster = Cluster::start(Options { major: Some(major), ..Options::default() });
    assert!(cluster.install_extensions("supabase/extension"));
    Some(cluster)
}

const CONTENTS: &str = "
    CREATE EXTENSION pgmq; CREATE EXTENSION pg_cron;
    SELECT pgmq.create('It''s \"Q\"'), pgmq.create_unlogged('plain');
    SELECT pgmq.send('It''s \"Q\"', jsonb_build_object('n', n)) FROM generate_series(1, 7) n;
    INSERT INTO pgmq.a_plain (msg_id, vt, message) VALUES (3, '2024-01-01', '{}');
    CREATE TABLE public.log (msg bigint);
    CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN INSERT INTO public.log VALUES (NEW.msg_id); RETURN NEW; END $$;
    CREATE TRIGGER noted AFTER INSERT ON pgmq.q_plain FOR EACH ROW EXECUTE FUNCTION public.noted();
    CREATE ROLE worker;
    ALTER TABLE pgmq.q_plain ENABLE ROW LEVEL SECURITY;
    CREATE POLICY workers ON pgmq.q_plain TO worker USING (true);
    GRANT SELECT ON pgmq.q_plain TO worker;
    SELECT cron.schedule('it''s \\ \"odd\"', '0 3 * * *', E'SELECT ''a\\nb''');
    SELECT cron.schedule('1 1 * * *', 'SELECT 1'), cron.schedule('1 1 * * *', 'SELECT 1');
    SELECT cron.schedule_in_database('elsewhere', '2 2 * * *', 'VACUUM', 'postgres', 'worker', false);";

fn state(url: &str) -> Vec<Rows> {
    [
        "SELECT queue_name, is_unlogged::text FROM pgmq.meta ORDER BY 1",
        "SELECT msg_id::text, message::text FROM pgmq.\"q_it's \"\"q\"\"\" ORDER BY 1",
        "SELECT msg_id::text, vt::text FROM pgmq.a_plain",
        "SELECT relname, relpersistence::text, relrowsecurity::text, relacl::text FROM pg_class
          WHERE relnamespace = 'pgmq'::regnamespace ORDER BY 1",
        "SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT last_value::text FROM pgmq.\"q_it's \"\"q\"\"_msg_id_seq\"",
        "SELECT jobname, schedule, command, NULLIF(database, current_database()), username, active::text FROM cron.job
          ORDER BY 1, 2, 3",
        "SELECT objid::regclass::text FROM pg_depend WHERE deptype = 'e' AND classid = 'pg_class'::regclass
            AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgmq') ORDER BY 1",
    ]
    .iter()
    .map(|sql| query(url, sql))
    .collect()
}

#[test]
fn they_come_back_in_an_empty_database_and_in_one_that_holds_something() {
    let Some(cluster) = cluster() else { return };
    cluster.execute("postgres", "CREATE DATABASE source");
    cluster.execute("source", CONTENTS);
    let archive = Pgkeep::on(&cluster.url("source"));
    archive.ok(&["backup", "--out", "a.json.gz"]);
    let file = archive.dir().join("a.json.gz").display().to_string();
    let expected = state(&cluster.url("source"));

    for (name, holds) in
        [("empty", ""), ("used", "CREATE TABLE public.other (id int); CREATE EXTENSION pgmq;")]
    {
        cluster.execute("postgres", &format!("CREATE DATABASE {name}"));
        cluster.execute(name, &format!("SELECT 1; {holds}"));
        let url = cluster.url(name);
        let pgkeep = Pgkeep::on(&url);
        pgkeep.ok(&["restore", "--safe", "--file", &file]);
        assert_eq!(state(&url), expected, "{name}");
        // Nothing is made a second time.
        let again = pgkeep.ok(&["restore", "--safe", "--json", "--file", &file]).json();
        assert_eq!(
            (&again["objects_created"], &again["total_inserted"]),
            (&0.into(), &0.into()),
            "{again:#}"
        );
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(state(&url), expected, "{name}");
    }

    // A queue and a job that went come back, what came stays, and the restore can be undone.
    let url = cluster.url("used");
    let pgkeep = Pgkeep::on(&url);
    query(
        &url,
        "DROP POLICY workers ON pgmq.q_plain; DROP TRIGGER noted ON pgmq.q_plain; SELECT pgmq.drop_queue('plain');
         SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'elsewhere';
         SELECT pgmq.create('new'), cron.schedule('new', '4 4 * * *', 'SELECT 4');
         INSERT INTO pgmq.q_new (vt) VALUES (now())",
    );
    let names = "SELECT string_agg(queue_name, ' ' ORDER BY queue_name),
        (SELECT string_agg(jobname, ' ' ORDER BY jobname) FROM cron.job), (SELECT count(*)::text FROM pgmq.q_new) FROM pgmq.meta";
    let before = query(&url, names);
    pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", &file]);
    let after = query(&url, names);
    assert_eq!(after[0][0].as_deref(), Some("It's \"Q\" new plain"));
    assert_eq!(after[0][1].as_deref(), Some("elsewhere it's \\ \"odd\" new"));
    assert_eq!(after[0][2].as_deref(), Some("1"));
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(query(&url, names), before);
}

#[test]
fn queues_that_were_taken_from_the_extension_are_tables_like_others() {
    let Some(cluster) = cluster() else { return };
    cluster.execute("postgres", "CREATE DATABASE source");
    cluster.execute("source", "CREATE EXTENSION pgmq; SELECT pgmq.create('own'), pgmq.create('theirs'); SELECT pgmq.send('own', '{}');
        ALTER EXTENSION pgmq DROP SEQUENCE pgmq.q_own_msg_id_seq; ALTER EXTENSION pgmq DROP TABLE pgmq.q_own;
        ALTER EXTENSION pgmq DROP TABLE pgmq.a_own");
    let archive = Pgkeep::on(&cluster.url("source"));
    archive.ok(&["backup", "--out", "a.json.gz"]);
    let file = archive.dir().join("a.json.gz").display().to_string();
    let state = "SELECT m.*, (SELECT count(*) FROM pgmq.q_own), (SELECT count(*) FROM pgmq.q_theirs),
        (SELECT string_agg(objid::regclass::text, ' ' ORDER BY objid::regclass::text) FROM pg_depend
          WHERE deptype = 'e' AND classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass
            AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgmq')) FROM pgmq.meta m ORDER BY 1";
    let expected = query(&cluster.url("source"), state);
    for (name, holds) in [("empty", ""), ("used", "CREATE TABLE public.other (id int);")] {
        cluster.execute("postgres", &format!("CREATE DATABASE {name}"));
        cluster.execute(name, &format!("SELECT 1; {holds}"));
        Pgkeep::on(&cluster.url(name)).ok(&["restore", "--safe", "--file", &file]);
        assert_eq!(query(&cluster.url(name), state), expected, "{name}");
    }
}

#[test]
fn who_may_not_read_them_is_told_and_whoever_reads_them_they_are_the_same() {
    let Some(cluster) = cluster() else { return };
    cluster.execute("postgres", "CREATE DATABASE source");
    cluster.execute("source", &format!("{CONTENTS} CREATE EXTENSION supabase_vault; SELECT vault.create_secret('x', 'y');
        CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT pg_read_all_data TO reader; CREATE ROLE app LOGIN PASSWORD 'a';
        GRANT SELECT ON public.log TO app"));
    let as_reader = Pgkeep::on(&cluster.url_as("reader", "r", "source"));
    as_reader
        .run(&["backup"])
        .expect_code(5)
        .says("row-level security would hide rows from role reader in pgmq.q_plain (owner postgres), cron.job (owner");
    as_reader.ok(&["backup", "--exclude", "cron.job,pgmq.*"]);
    // Who has nothing to do with them is not held up, and who asks for secrets is not left without a word.
    let as_app = Pgkeep::on(&cluster.url_as("app", "a", "source"));
    as_app.ok(&["backup", "--table", "public.log"]);
    cluster.execute("source", "ALTER ROLE reader BYPASSRLS; REVOKE pg_read_all_data FROM reader;
        GRANT USAGE ON SCHEMA public, pgmq, cron, vault TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public, pgmq, cron TO reader;
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA public, pgmq, cron TO reader; GRANT SELECT ON vault.secrets TO reader");
    as_reader
        .run(&["backup", "--with-secrets"])
        .expect_code(5)
        .says("permission denied for view decrypted_secrets");
    as_reader.ok(&["backup", "--out", "a.json.gz"]);
    let file = as_reader.dir().join("a.json.gz").display().to_string();
    let before = state(&cluster.url("source"));
    let again =
        Pgkeep::on(&cluster.url("source")).ok(&["restore", "--safe", "--json", "--file", &file]).json();
    assert_eq!(again["objects_created"], 0, "{again:#}");
    assert_eq!(state(&cluster.url("source")), before);
    // Rows alone are rows.
    let pgkeep = Pgkeep::on(&cluster.url("source"));
    pgkeep.ok(&["backup", "--data-only", "--out", "b.json.gz"]);
    cluster.execute("source", "DELETE FROM cron.job");
    pgkeep.ok(&["restore", "--safe", "--file", "b.json.gz"]);
    assert_eq!(state(&cluster.url("source")), before);
}

#[test]
fn messages_come_to_another_version_of_the_extension_that_knows_more_or_less_of_them() {
    let Some(cluster) = cluster() else { return };
    let state = "SELECT 'q', msg_id::text, read_ct::text, vt::text, message::text FROM pgmq.q_tasks
        UNION ALL SELECT 'a', msg_id::text, read_ct::text, vt::text, message::text FROM pgmq.a_tasks ORDER BY 1, 2";
    for (version, others, said) in [
        ("1.5.1", "1.10.0", "column \"last_read_at\" is not in the archive: new rows get its default"),
        ("1.10.0", "1.5.1", "column \"last_read_at\" is left out: the target does not have it"),
    ] {
        let source = format!("from_{version}");
        cluster.execute("postgres", &format!("CREATE DATABASE \"{source}\""));
        cluster.execute(
            &source,
            &format!(
                "CREATE EXTENSION pgmq VERSION '{version}'; SELECT pgmq.create('tasks');
                 SELECT pgmq.send('tasks', jsonb_build_object('n', n)) FROM generate_series(1, 5) n;
                 INSERT INTO pgmq.a_tasks (msg_id, vt, message) VALUES (9, '2024-01-01', '{{}}')"
            ),
        );
        let archive = Pgkeep::on(&cluster.url(&source));
        archive.ok(&["backup", "--out", "a.json.gz"]);
        let file = archive.dir().join("a.json.gz").display().to_string();
        let expected = query(&cluster.url(&source), state);

        for (is, holds) in [("empty", ""), ("used", "CREATE TABLE public.other (id int);")] {
            let name = format!("{is}_{others}");
            cluster.execute("postgres", &format!("CREATE DATABASE \"{name}\""));
            cluster.execute(&name, &format!("CREATE EXTENSION pgmq VERSION '{others}'; {holds}"));
            let url = cluster.url(&name);
            let pgkeep = Pgkeep::on(&url);
            let log = pgkeep.ok(&["restore", "--safe", "--json", "--file", &file]).json();
            for table in ["pgmq.q_tasks", "pgmq.a_tasks"] {
                let warning = format!("{table}: {said}");
                let all = log["warnings"].as_array().unwrap();
                assert!(all.iter().any(|w| w.as_str().unwrap().starts_with(&warning)), "{name}: {log:#}");
            }
            assert_eq!(query(&url, state), expected, "{name}");

            // What only the newer version knows of a message stays with it.
            let is_newer = others == "1.10.0";
            if is_newer {
                query(&url, "UPDATE pgmq.q_tasks SET last_read_at = '2024-02-02'");
            }
            query(&url, "UPDATE pgmq.q_tasks SET message = '{}' WHERE msg_id = 3");
            let before = query(&url, state);
            pgkeep.ok(&["restore", "--safe", "--file", &file]);
            assert_eq!(query(&url, state), expected, "{name}");
            if is_newer {
                let read = "SELECT count(*)::text FROM pgmq.q_tasks WHERE last_read_at = '2024-02-02'";
                assert_eq!(query(&url, read)[0][0].as_deref(), Some("5"));
            }
            pgkeep.ok(&["rollback", "latest"]);
            assert_eq!(query(&url, state), before, "{name}");
        }
    }
}
