//! `pgkeep rehearse`: an archive is restored into a scratch database, compared, checked, and the database removed.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acting;
mod differing;
mod refused;
mod removed;
#[path = "../support/mod.rs"]
mod support;
mod whole;

use support::{Cluster, Database, Digest, Pgkeep, query, shared};

/// A database that is backed up, and the folder with its archive.
pub struct World {
    pub database: Database<'static>,
    pub pgkeep: Pgkeep,
    pub archive: String,
}

impl World {
    /// Made by `sql`, on a server of this major, or the usual one.
    pub fn on(major: Option<u32>, name: &str, sql: &str) -> World {
        let database = shared(major).database(name);
        database.execute(sql);
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup"]);
        let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
        World { database, pgkeep, archive }
    }

    pub fn new(name: &str, sql: &str) -> World {
        World::on(None, name, sql)
    }

    /// What a rehearsal must leave alone: this database's rows, and what the server has.
    pub fn state(&self) -> (Digest, Vec<String>) {
        (self.database.digest(), server(self.database.cluster))
    }
}

/// Roles, tablespaces, subscriptions and settings of a server, but for what tests make, which run side by side.
pub fn server(cluster: &Cluster) -> Vec<String> {
    let sql = "SELECT 'role ' || r::text FROM pg_authid r WHERE rolname NOT LIKE 'pg\\_%' AND rolname NOT LIKE 'rehearse_%'
         UNION ALL SELECT 'tablespace ' || spcname FROM pg_tablespace
         UNION ALL SELECT 'settings ' || s::text FROM pg_db_role_setting s WHERE setdatabase = 0
         UNION ALL SELECT 'subscription ' || subname FROM pg_subscription WHERE subname NOT LIKE 'rehearse_%' ORDER BY 1";
    query(&cluster.url("postgres"), sql).into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// The scratch databases that are there.
pub fn scratch(cluster: &Cluster) -> Vec<String> {
    let sql = "SELECT datname FROM pg_database WHERE datname LIKE 'pgkeep\\_rehearsal\\_%' ORDER BY 1";
    query(&cluster.url("postgres"), sql).into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// The name of the scratch database that a run speaks of.
pub fn named(text: &str) -> String {
    let from = text.find("pgkeep_rehearsal_").unwrap_or_else(|| panic!("no scratch database in {text}"));
    text[from..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// A materialized view that takes long to fill, and only in a copy.
pub const SLOW: &str = "
    CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 500);
    CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN IF current_database() LIKE 'pgkeep%' THEN PERFORM pg_sleep(60); END IF; RETURN 1; END $$;
    CREATE MATERIALIZED VIEW late AS SELECT public.wait() AS x;";
