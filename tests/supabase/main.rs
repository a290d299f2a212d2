//! Supabase projects as the role of their owner meets them: `fixtures/supabase/` imitates one, in two versions.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::io::Read;

mod project;
#[path = "../support/mod.rs"]
mod support;

use project::{Age, Project};
use support::{Pgkeep, majors, query};

/// Servers that can stand in for the platform's own: `GRANT SET ON PARAMETER` came with 15.
fn platforms() -> Vec<u32> {
    majors().into_iter().filter(|major| [15, 17].contains(major)).collect()
}

fn backed_up(project: &Project) -> (Pgkeep, String) {
    let pgkeep = Pgkeep::on(&project.url());
    let file = pgkeep.ok(&["backup", "--json"]).json()["file"].as_str().unwrap().to_owned();
    assert!(file.contains("supabase_backup_"), "{file}");
    let path = pgkeep.dir().join(file).display().to_string();
    (pgkeep, path)
}

/// Both texts have the same lines; the failure shows those that one of them lacks.
fn same(there: &str, expected: &str) {
    let without = |a: &str, b: &str| {
        let other: HashSet<&str> = b.lines().collect();
        a.lines().filter(|line| !other.contains(line)).take(20).collect::<Vec<_>>().join("\n")
    };
    assert!(
        there == expected,
        "MISSING\n{}\nTOO MUCH\n{}",
        without(expected, there),
        without(there, expected)
    );
}

#[test]
fn a_project_comes_back_in_a_fresh_one_by_its_own_role_and_the_restore_can_be_undone() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025"]);
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let (before, platform) = (fresh.everything(), fresh.platforms_state());
        let pgkeep = Pgkeep::on(&fresh.url());
        let run = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(0);
        assert_eq!(run.json()["status"], "completed", "{}", run.stdout);
        same(&fresh.users_state(), &source.users_state());
        same(&fresh.platforms_state(), &platform);
        // What came since goes where that is asked for, although the platform forbids to delete from storage.
        query(
            &fresh.url(),
            "INSERT INTO storage.objects (bucket_id, name) VALUES ('files', 'new');
             INSERT INTO auth.users (id, email) VALUES (gen_random_uuid(), 'new@example.com')",
        );
        let log = pgkeep
            .run(&["restore", "--safe", "--mode", "exact", "--json", "--file", &archive])
            .expect_code(0);
        assert_eq!(log.json()["total_deleted"], 3);
        same(&fresh.users_state(), &source.users_state());
        pgkeep.ok(&["rollback", "latest"]);
        pgkeep.ok(&["rollback", run.json()["safety_backup_file"].as_str().unwrap()]);
        same(&fresh.everything(), &before);
        pgkeep.ok(&["rollback", "latest"]);
        assert!(fresh.users_state().contains("new@example.com"));
    }
}

#[test]
fn an_old_project_comes_back_in_one_of_today() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2022, &["auth_2022"]);
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let before = fresh.everything();
        let pgkeep = Pgkeep::on(&fresh.url());
        let log = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(0).json();
        let warnings = log["warnings"].to_string();
        assert!(
            warnings.contains("auth.identities: column \\\"id\\\" is called \\\"provider_id\\\" there"),
            "{warnings}"
        );
        assert!(
            warnings.contains(
                "columns \\\"is_sso_user\\\", \\\"deleted_at\\\", \\\"is_anonymous\\\" are not in the archive"
            ),
            "{warnings}"
        );
        same(&fresh.users_state(), &source.users_state());
        pgkeep.ok(&["rollback", "latest"]);
        same(&fresh.everything(), &before);
    }
}

#[test]
fn what_the_role_may_not_do_is_listed_as_statements_and_these_do_it() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025"]);
        source.by_platform(&["policies", "others"]);
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let pgkeep = Pgkeep::on(&fresh.url());
        let run = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(3);
        let log = run.json();
        assert_eq!(log["status"], "partial");
        let left = log["statements_left"].as_array().unwrap();
        let about: Vec<&str> = left.iter().map(|l| l["object"].as_str().unwrap()).collect();
        let expected = [
            "FUNCTION auth.is_admin()",
            "FUNCTION auth.is_admin()",
            "TABLE public.of_platform",
            "TABLE public.of_platform",
            "INDEX storage.objects_by_size",
            "POLICY admins ON public.profiles",
            "POLICY \"members listen\" ON realtime.messages",
            "POLICY \"avatars are public\" ON storage.objects",
            "POLICY \"own folder\" ON storage.objects",
            "POLICY \"own folder\" ON storage.objects",
            "DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA private ON TABLES",
            "PRIVILEGES ON FUNCTION extensions.gen_salt(text)",
        ];
        assert_eq!(about, expected, "{log:#}");
        for statement in left {
            fresh.cluster.execute("postgres", statement["sql"].as_str().unwrap());
        }
        same(&fresh.users_state(), &source.users_state());
    }
}

/// Servers into which the imitations of extensions can be put.
fn with_extensions() -> Vec<u32> {
    platforms().into_iter().filter(|major| *major == 17).collect()
}

#[test]
fn queues_jobs_and_secrets_come_back_by_the_functions_that_made_them() {
    for major in with_extensions() {
        let steps = ["auth_2025", "queues", "jobs", "secrets"];
        let source = Project::with_contents(major, Age::Of2025, &steps);
        let (pgkeep, without) = backed_up(&source);
        pgkeep.ok(&["backup"]).says("the secrets of the vault are left out: --with-secrets takes them");
        assert!(!unpacked(&without).contains("the key of the other service"));
        pgkeep.ok(&["backup", "--with-secrets", "--out", "with.json.gz"]);
        let archive = pgkeep.dir().join("with.json.gz").display().to_string();
        assert!(unpacked(&archive).contains("the key of the other service"));

        let fresh = Project::fresh(major, Age::Of2025);
        let before = fresh.everything();
        let pgkeep = Pgkeep::on(&fresh.url());
        let run = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(0);
        same(&fresh.users_state(), &source.users_state());
        let mut texts = vec![run.stdout.clone(), run.stderr.clone()];
        for folder in ["summaries", "logs"] {
            let files = std::fs::read_dir(pgkeep.dir().join(folder)).unwrap();
            texts.extend(files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()));
        }
        assert!(texts.len() >= 4);
        for text in texts {
            assert!(!text.contains("the key of the other service"), "{text}");
        }
        let again = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(0).json();
        assert_eq!(
            (&again["objects_created"], &again["total_inserted"]),
            (&0.into(), &0.into()),
            "{again:#}"
        );
        same(&fresh.users_state(), &source.users_state());
        pgkeep.ok(&["rollback", run.json()["safety_backup_file"].as_str().unwrap()]);
        same(&fresh.everything(), &before);

        // Nor do those commands say it that only look.
        for command in [
            &["show", &archive, "--schema"][..],
            &["show", &archive, "--schema", "--json"],
            &["export", &archive, "--format", "sql"],
            &["diff", &archive, "live", "--schema", "--full"],
        ] {
            let run = pgkeep.run(command);
            assert!(!run.stdout.contains("the key of the other service"), "{command:?}");
            let _ = run.expect_code(0);
        }
    }
}

fn unpacked(archive: &str) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(archive).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn webhooks_wait_for_the_platform_where_it_has_not_made_their_function() {
    for major in platforms() {
        let source = Project::fresh(major, Age::Of2025);
        source.platform("webhooks");
        source.by_owner(&["", "auth_2025", "webhooks"]);
        let (_kept, archive) = backed_up(&source);

        let fresh = Project::fresh(major, Age::Of2025);
        fresh.platform("webhooks");
        let whole = Pgkeep::on(&fresh.url()).ok(&["restore", "--safe", "--json", "--file", &archive]).json();
        same(&fresh.users_state(), &source.users_state());

        let fresh = Project::fresh(major, Age::Of2025);
        let run =
            Pgkeep::on(&fresh.url()).run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(3);
        // What was left was not made.
        let made = |log: &serde_json::Value| log["objects_created"].as_u64().unwrap();
        assert_eq!(made(&run.json()) + 2, made(&whole));
        let left = run.json()["statements_left"].as_array().unwrap().clone();
        let about: Vec<&str> = left.iter().map(|l| l["object"].as_str().unwrap()).collect();
        assert_eq!(about, ["TRIGGER tell_of_users ON auth.users", "TRIGGER tell_others ON public.posts"]);
        fresh.platform("webhooks");
        left.iter().for_each(|l| drop(query(&fresh.url(), l["sql"].as_str().unwrap())));
        same(&fresh.users_state(), &source.users_state());
    }
}

#[test]
fn a_privilege_that_the_role_cannot_give_is_not_taken_for_given() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025"]);
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let revoke =
            "SET ROLE supabase_auth_admin; REVOKE GRANT OPTION FOR SELECT ON auth.users FROM postgres";
        fresh.cluster.execute("postgres", revoke);
        let run =
            Pgkeep::on(&fresh.url()).run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(3);
        let left = run.json()["statements_left"].clone();
        assert_eq!(left.as_array().unwrap().len(), 1, "{left:#}");
        assert_eq!(left[0]["sql"], "GRANT SELECT ON TABLE auth.users TO service_role");
        fresh.cluster.execute("postgres", left[0]["sql"].as_str().unwrap());
        same(&fresh.users_state(), &source.users_state());
    }
}

#[test]
fn what_a_newer_version_of_the_platform_knows_of_a_row_stays_with_it() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2022, &["auth_2022"]);
        // No newer version has this table.
        source.cluster.execute(
            "postgres",
            "SET ROLE supabase_auth_admin; CREATE TABLE auth.sso_sessions (id int PRIMARY KEY)",
        );
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let pgkeep = Pgkeep::on(&fresh.url());
        pgkeep.ok(&["restore", "--safe", "--file", &archive]);
        let identities = "SELECT string_agg(id::text, ' ' ORDER BY provider_id) FROM auth.identities";
        let before = fresh.cluster.query("postgres", identities);
        fresh.cluster.execute(
            "postgres",
            "UPDATE auth.users SET email = 'other@example.com', is_anonymous = true WHERE email = 'user1@example.com';
             UPDATE auth.identities SET identity_data = '{}'",
        );
        let log = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(0).json();
        assert_eq!(log["total_updated"], 41, "{log:#}");
        same(&fresh.users_state(), &source.users_state());
        assert_eq!(fresh.cluster.query("postgres", identities), before);
        let anonymous = "SELECT string_agg(email, ' ') FROM auth.users WHERE is_anonymous";
        assert_eq!(fresh.cluster.query("postgres", anonymous)[0][0].as_deref(), Some("user1@example.com"));
        pgkeep.ok(&["rollback", "latest"]);
        let changed =
            "SELECT count(*)::text FROM auth.users WHERE email = 'other@example.com' AND is_anonymous";
        assert_eq!(fresh.cluster.query("postgres", changed)[0][0].as_deref(), Some("1"));
    }
}

#[test]
fn rows_for_which_an_older_platform_has_no_table_are_refused_by_name() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025"]);
        let (_kept, archive) = backed_up(&source);
        let old = Project::fresh(major, Age::Of2022);
        let before = old.everything();
        let pgkeep = Pgkeep::on(&old.url());
        let run = pgkeep.run(&["restore", "--safe", "--file", &archive]).expect_code(1);
        run.says("auth.mfa_factors: the target has no such table");
        assert!(!run.stderr.contains("auth.one_time_tokens"), "{}", run.stderr);
        same(&old.everything(), &before);
        let arguments = ["restore", "--safe", "--exclude", "auth.mfa_factors", "--file", &archive];
        let run = pgkeep.run(&arguments).expect_code(3);
        run.says("auth.identities: column \"provider_id\" is called \"id\" there");
        // Its owner did not have the grant option then.
        assert!(
            run.stdout.contains("    GRANT SELECT ON TABLE auth.users TO service_role;\n"),
            "{}",
            run.stdout
        );
        // A counter that no table uses goes along when all tables do.
        let other = |line: &&str| {
            !["factors", "given", "counters | extensions"].iter().any(|start| line.starts_with(start))
        };
        let state =
            |project: &Project| project.users_state().lines().filter(other).collect::<Vec<_>>().join("\n");
        same(&state(&old), &state(&source));
        pgkeep.ok(&["rollback", "latest"]);
        same(&old.everything(), &before);
    }
}

#[test]
fn doctor_says_that_a_project_can_be_restored_into_a_fresh_one() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2022, &["auth_2022"]);
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let run = Pgkeep::on(&fresh.url()).run(&["doctor", "--file", &archive]).expect_code(0);
        for (check, finding) in [("host", "Supabase (profile supabase)"), ("restore", "can be restored: ")] {
            let line = run.stdout.lines().find(|line| line.starts_with(&format!("PASS  {check} ")));
            assert!(line.is_some_and(|line| line.contains(finding)), "{}", run.stdout);
        }
    }
}

#[test]
fn a_selection_gives_no_privileges_elsewhere_and_clean_leaves_the_platform_alone() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025"]);
        let (_kept, archive) = backed_up(&source);
        let platform = source.platforms_state();
        let state = source.users_state();
        let pgkeep = Pgkeep::on(&source.url());
        query(
            &source.url(),
            "REVOKE SELECT ON auth.users FROM service_role; UPDATE public.profiles SET karma = 99",
        );
        pgkeep.ok(&["restore", "--safe", "--table", "public.profiles", "--file", &archive]);
        let given = "SELECT has_table_privilege('service_role', 'auth.users', 'SELECT')::text";
        assert_eq!(query(&source.url(), given)[0][0].as_deref(), Some("false"));
        let log = pgkeep.ok(&["restore", "--safe", "--json", "--file", &archive]).json();
        assert_eq!(log["objects_replaced"], serde_json::json!(["TABLE auth.users"]), "{log:#}");
        same(&source.users_state(), &state);
        pgkeep.ok(&["restore", "--safe", "--clean", "--file", &archive]);
        same(&source.users_state(), &state);
        same(&source.platforms_state(), &platform);
        pgkeep.ok(&["rollback", "latest"]);
        same(&source.users_state(), &state);
        same(&source.platforms_state(), &platform);
    }
}

#[test]
fn a_secret_is_not_in_the_log_of_a_server_that_refuses_other_things() {
    for major in with_extensions() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025", "secrets"]);
        source.by_platform(&["policies"]);
        let pgkeep = Pgkeep::on(&source.url());
        pgkeep.ok(&["backup", "--with-secrets", "--out", "with.json.gz"]);
        let archive = pgkeep.dir().join("with.json.gz").display().to_string();
        let fresh = Project::fresh(major, Age::Of2025);
        let _ = Pgkeep::on(&fresh.url()).run(&["restore", "--safe", "--file", &archive]).expect_code(3);
        let log = fresh.cluster.log();
        assert!(log.contains("CREATE POLICY"), "the log has what was refused:\n{log}");
        assert!(!log.contains("the key of the other service"));
    }
}

#[test]
fn what_a_user_once_made_and_the_platform_makes_by_now_is_the_platforms() {
    for major in platforms() {
        let source = Project::with_contents(major, Age::Of2025, &["auth_2025"]);
        let (watch, body) =
            ("extensions.pgrst_ddl_watch()", "RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
        // Others than the platform's: the one a trigger of his own, the other made by the owner.
        source.cluster.execute(
            "postgres",
            &format!(
                "CREATE OR REPLACE FUNCTION {watch} {body}; ALTER FUNCTION {watch} OWNER TO postgres;
                 ALTER EVENT TRIGGER pgrst_ddl_watch DISABLE"
            ),
        );
        let (_kept, archive) = backed_up(&source);
        let fresh = Project::fresh(major, Age::Of2025);
        let platform = fresh.platforms_state();
        let pgkeep = Pgkeep::on(&fresh.url());
        pgkeep.ok(&["restore", "--safe", "--if-exists", "replace", "--file", &archive]);
        same(&fresh.users_state(), &source.users_state());
        same(&fresh.platforms_state(), &platform);
    }
}
