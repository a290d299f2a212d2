//! Imitations of Supabase projects.

use crate::support::{Cluster, Options, Rows, database_digest, fixture, query};

/// Which version of the platform's schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Of2022,
    Of2025,
}

/// A project: a cluster whose superuser is the platform's, with a role `postgres` that is none.
pub struct Project {
    pub cluster: Cluster,
}

impl Project {
    /// As the platform makes one.
    pub fn fresh(major: u32, age: Age) -> Project {
        let superuser = Some("supabase_admin".to_owned());
        let cluster = Cluster::start(Options { major: Some(major), superuser, ..Options::default() });
        let year = match age {
            Age::Of2022 => "2022",
            Age::Of2025 => "2025",
        };
        cluster.execute("postgres", &fixture("supabase/platform.sql"));
        let has_extensions = cluster.install_extensions("supabase/extension");
        if has_extensions {
            cluster.execute("postgres", &fixture("supabase/vault.sql"));
        }
        for file in [format!("auth_{year}"), format!("storage_{year}")] {
            cluster.execute("postgres", &fixture(&format!("supabase/{file}.sql")));
        }
        Project { cluster }
    }

    /// What the platform adds where its customer asks for it.
    pub fn platform(&self, file: &str) {
        self.cluster.execute("postgres", &fixture(&format!("supabase/{file}.sql")));
    }

    /// Runs steps of `project.sql` as the owner.
    pub fn by_owner(&self, steps: &[&str]) {
        steps.iter().for_each(|name| drop(query(&self.url(), &step(name))));
    }

    /// With what its owner has made, and the steps of `project.sql` that are named.
    pub fn with_contents(major: u32, age: Age, steps: &[&str]) -> Project {
        let project = Project::fresh(major, age);
        query(&project.url(), &step(""));
        project.by_owner(steps);
        project
    }

    /// Steps that the platform's own extension lets the owner take, and that only a superuser can take here.
    pub fn by_platform(&self, steps: &[&str]) {
        steps.iter().for_each(|name| self.cluster.execute("postgres", &step(name)));
    }

    /// The owner's URL.
    pub fn url(&self) -> String {
        self.cluster.url_as("postgres", "project", "postgres")
    }

    /// All rows of all tables, and all definitions.
    pub fn everything(&self) -> String {
        let digest = database_digest(&self.cluster.url("postgres"));
        format!("{digest:#?}\n{}\n{}", self.users_state(), self.platforms_state())
    }

    /// What the owner has, in a form that does not depend on the platform's version.
    pub fn users_state(&self) -> String {
        let tables = [
            "public.profiles",
            "public.posts",
            "public.prolific",
            "public.members",
            "private.notes",
            "supabase_migrations.schema_migrations",
            "extensions.mine",
            "etl.runs",
            "pgmq.meta",
            "pgmq.q_tasks",
            "pgmq.a_tasks",
            "pgmq.q_fleeting",
        ];
        let there = |name: &&&str| {
            self.cluster.query("postgres", &format!("SELECT to_regclass('{name}')::text"))[0][0].is_some()
        };
        let rows =
            |name: &&str| self.said(&[&format!("SELECT '{name}', t.* FROM {name} t ORDER BY t::text")]);
        let mut kept = String::new();
        if there(&&"cron.job") {
            kept += &self.said(&[
                "SELECT 'job', schedule, command, database, username, active, jobname FROM cron.job",
            ]);
        }
        if there(&&"vault.secrets") {
            kept += &self
                .said(&["SELECT 'secret', name, description, decrypted_secret FROM vault.decrypted_secrets"]);
        }
        let own: String = tables.iter().filter(there).map(rows).collect();
        own + &kept + &self.said(&[
            "SELECT 'users', id, email, encrypted_password, raw_user_meta_data, phone, created_at FROM auth.users ORDER BY 2",
            "SELECT 'sessions', id, user_id, created_at FROM auth.sessions ORDER BY 2",
            "SELECT 'tokens', id, token, user_id, session_id FROM auth.refresh_tokens ORDER BY 2",
            "SELECT 'token counter', last_value, is_called FROM auth.refresh_tokens_id_seq",
            "SELECT 'identities', COALESCE(to_jsonb(i) ->> 'provider_id', i.id::text), user_id, identity_data, provider
               FROM auth.identities i ORDER BY 2",
            "SELECT 'factors', (SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM query_to_xml(
                CASE WHEN to_regclass('auth.mfa_factors') IS NULL THEN 'SELECT 1 WHERE false'
                     ELSE 'SELECT id, user_id, friendly_name, secret FROM auth.mfa_factors ORDER BY 1' END, true, false, '') x)",
            "SELECT 'buckets', id, name, public FROM storage.buckets ORDER BY 2",
            "SELECT 'objects', id, bucket_id, name, metadata, path_tokens FROM storage.objects ORDER BY 2",
            "SELECT 'counters', schemaname, sequencename, last_value FROM pg_sequences
              WHERE schemaname IN ('public', 'private', 'extensions', 'etl') ORDER BY 2, 3",
            "SELECT 'relation', c.oid::regclass, c.relkind, pg_get_userbyid(c.relowner), c.relrowsecurity,
                    ARRAY(SELECT a::text FROM unnest(c.relacl) a ORDER BY 1), obj_description(c.oid), pg_get_viewdef(c.oid)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname IN ('public', 'private', 'supabase_migrations') ORDER BY 2::text",
            "SELECT 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                    (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)
               FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname IN ('public', 'private', 'supabase_migrations') AND attnum > 0 AND c.relkind IN ('r', 'v', 'm')
              ORDER BY 2::text, attnum",
            "SELECT 'constraint', conrelid::regclass, conname, pg_get_constraintdef(k.oid), convalidated
               FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
              WHERE n.nspname IN ('public', 'private', 'supabase_migrations') ORDER BY 2::text, 3",
            "SELECT 'function', p.oid::regprocedure, pg_get_functiondef(p.oid), ARRAY(SELECT a::text FROM unnest(p.proacl) a ORDER BY 1)
               FROM pg_proc p WHERE p.pronamespace::regnamespace::text IN ('public', 'private') ORDER BY 2::text",
            "SELECT 'trigger', pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t
               JOIN pg_proc p ON p.oid = t.tgfoid
              WHERE NOT t.tgisinternal AND p.pronamespace::regnamespace::text IN ('public', 'supabase_functions') ORDER BY 2",
            "SELECT 'policy', schemaname, tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies ORDER BY 2, 3, 4",
            "SELECT 'published', pubname, schemaname, tablename FROM pg_publication_tables WHERE pubname = 'supabase_realtime' ORDER BY 3, 4",
            "SELECT 'defaults', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype,
                    ARRAY(SELECT a::text FROM unnest(defaclacl) a ORDER BY 1)
               FROM pg_default_acl WHERE defaclrole = 'postgres'::regrole OR defaclnamespace::regnamespace::text = 'private' ORDER BY 2::text, 3::text, 4",
            "SELECT 'function in auth', p.oid::regprocedure, pg_get_functiondef(p.oid), ARRAY(SELECT a::text FROM unnest(p.proacl) a ORDER BY 1)
               FROM pg_proc p WHERE p.proname = 'is_admin'",
            "SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
              WHERE c.relname IN ('objects_by_size', 'often_read')",
            "SELECT 'comment', obj_description(p.oid, 'pg_policy') FROM pg_policy p WHERE polname = 'own folder'",
            "SELECT 'extension', extname, extnamespace::regnamespace FROM pg_extension",
            "SELECT 'schema', nspname, pg_get_userbyid(nspowner), ARRAY(SELECT a::text FROM unnest(nspacl) a ORDER BY 1)
               FROM pg_namespace WHERE nspname IN ('public', 'private', 'supabase_migrations') ORDER BY 2",
            "SELECT 'function privileges', p.oid::regprocedure, ARRAY(SELECT a::text FROM unnest(p.proacl) a ORDER BY 1)
               FROM pg_proc p WHERE p.proname = 'gen_salt'",
            "SELECT 'given', has_table_privilege('service_role', 'auth.users', 'SELECT')",
        ])
    }

    /// What is the platform's.
    pub fn platforms_state(&self) -> String {
        self.said(&[
            "SELECT 'auth version', count(*), max(version) FROM auth.schema_migrations",
            "SELECT 'storage version', id, name, hash FROM storage.migrations ORDER BY 2",
            "SELECT 'trigger', pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
              WHERE NOT t.tgisinternal AND c.relnamespace = 'storage'::regnamespace ORDER BY 2",
            "SELECT 'event trigger', evtname, evtenabled FROM pg_event_trigger ORDER BY 2",
            "SELECT 'publication', pubname, pg_get_userbyid(pubowner) FROM pg_publication ORDER BY 2",
            "SELECT 'role', rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolconfig FROM pg_roles
              WHERE rolname !~ '^pg_' ORDER BY 2",
            "SELECT 'privileges', c.oid::regclass, ARRAY(SELECT a::text FROM unnest(c.relacl) a WHERE a::text !~ '^service_role=r' ORDER BY 1)
               FROM pg_class c WHERE c.relnamespace IN ('auth'::regnamespace, 'storage'::regnamespace, 'realtime'::regnamespace)
                AND c.relname !~ '^messages_' ORDER BY 2::text",
        ])
    }

    fn said(&self, questions: &[&str]) -> String {
        let mut lines = Vec::new();
        for question in questions {
            let rows: Rows = self.cluster.query("postgres", question);
            for row in rows {
                let cells: Vec<String> =
                    row.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned())).collect();
                lines.push(format!("{}\n", cells.join(" | ").replace('\n', " ")));
            }
        }
        lines.sort();
        lines.concat()
    }
}

/// A step of `project.sql`; the first one has no name.
fn step(name: &str) -> String {
    let text = fixture("supabase/project.sql");
    let mut steps = text.split("\n-- step ");
    if name.is_empty() {
        return steps.next().unwrap().to_owned();
    }
    let found = steps.find_map(|step| step.strip_prefix(&format!("{name}\n")).map(str::to_owned));
    found.unwrap_or_else(|| panic!("there is no step {name}"))
}
