//! Keeps triggers, rules and foreign-key actions from acting on what is restored: an `updated_at` trigger would
//! change the rows, a stock-keeping one other tables, ON DELETE CASCADE would delete what the archive keeps.
//!
//! All of it happens inside the restoring transaction, so that no crash can leave anything disabled, and
//! [`Held::release`] proves before commit that everything is enabled as it was found.
//!
//! Two ways. Where the role may set `session_replication_role` (superusers; from 15 on by GRANT SET), it is set to
//! `replica` for the transaction: neither triggers nor foreign keys act, except triggers and rules that are marked
//! ALWAYS or REPLICA, which are disabled one by one. Elsewhere an owner disables the triggers and rules, and takes
//! the foreign keys off and on again, whereby the server itself checks them.

use tokio_postgres::Client;

use super::foreign_keys::{self, Dropped};
use super::plan::RestorePlan;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, ConstraintInfo, ForeignKey, Relation};
use crate::postgres::error as pg;
use crate::postgres::quote;
use crate::schema::script::ident;

/// How triggers are kept from acting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `session_replication_role = replica`.
    ReplicaRole,
    /// Disabled by their tables' owner; foreign keys dropped and added again.
    Owner,
    /// There are none that could act.
    NothingToHold,
}

impl Way {
    /// As the log says it.
    pub fn describe(self) -> &'static str {
        match self {
            Way::ReplicaRole => "session_replication_role",
            Way::Owner => "disabled by the tables' owner",
            Way::NothingToHold => "nothing to hold",
        }
    }
}

/// Sets the replica role for a transaction.
const REPLICA_ROLE: &str = "SET LOCAL session_replication_role = replica;";

/// What lets another session work as one does for which [`set_replica_role`] has found that it may.
pub fn replica_role(may: bool) -> &'static str {
    if may { REPLICA_ROLE } else { "" }
}

/// Whether the role may set `session_replication_role`; if so, it is set for the transaction.
pub async fn set_replica_role(client: &Client) -> Result<bool, Failure> {
    client.batch_execute("SAVEPOINT pgkeep_role").await?;
    match client.batch_execute(REPLICA_ROLE).await {
        Ok(()) => {
            client.batch_execute("RELEASE SAVEPOINT pgkeep_role").await?;
            Ok(true)
        }
        Err(error) if pg::sqlstate(&error) == Some("42501") => {
            client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_role; RELEASE SAVEPOINT pgkeep_role").await?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// One trigger or rule with its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Firing {
    table: u32,
    name: String,
    rule: bool,
    /// `tgenabled` or `ev_enabled`: O(rigin), A(lways), R(eplica), D(isabled).
    enabled: String,
}

/// What was disabled or taken off.
#[derive(Debug)]
pub struct Held {
    /// How.
    pub way: Way,
    before: Vec<Firing>,
    foreign_keys: Vec<Dropped>,
    scope: Vec<u32>,
}

/// Keeps everything on the tables in scope from acting.
pub async fn hold(
    client: &Client,
    catalog: &Catalog,
    plan: &RestorePlan,
    replica_role: bool,
) -> Result<Held, Failure> {
    let mut scope: Vec<u32> = plan.closure(catalog).into_iter().collect();
    scope.sort_unstable();
    let before = read(client, &scope).await?;
    let acting = acting(&before, replica_role);
    let keys = plan.foreign_keys(catalog);
    let mut held = Held { way: Way::ReplicaRole, before: before.clone(), foreign_keys: Vec::new(), scope };
    if !replica_role {
        held.way = if acting.is_empty() && keys.is_empty() { Way::NothingToHold } else { Way::Owner };
    }
    let strangers = strangers(catalog, &acting, &keys, replica_role);
    if !strangers.is_empty() {
        return Err(beyond_reach(&catalog.server.role, &strangers));
    }
    if !replica_role && !keys.is_empty() {
        foreign_keys::refuse_switched_off(client, &catalog.server.role, &held.scope).await?;
    }
    for firing in acting {
        set_firing(client, catalog, firing, "D").await?;
    }
    if !replica_role {
        for (constraint, _) in keys {
            held.foreign_keys.extend(foreign_keys::take_off(client, catalog, constraint).await?);
        }
    }
    Ok(held)
}

/// The failure that a restore would end with which has something to write and can neither set the replica role nor hold all
/// that would act; none where it can.
pub async fn would_fail(
    client: &Client,
    catalog: &Catalog,
    plan: &RestorePlan,
    replica_role: bool,
) -> Result<Option<Failure>, Failure> {
    let scope: Vec<u32> = plan.closure(catalog).into_iter().collect();
    let before = read(client, &scope).await?;
    let (acting, keys) = (acting(&before, replica_role), plan.foreign_keys(catalog));
    let strangers = strangers(catalog, &acting, &keys, replica_role);
    if !strangers.is_empty() {
        return Ok(Some(beyond_reach(&catalog.server.role, &strangers)));
    }
    if replica_role || keys.is_empty() {
        return Ok(None);
    }
    Ok(foreign_keys::refuse_switched_off(client, &catalog.server.role, &scope).await.err())
}

/// Those that would act on what is restored.
fn acting(all: &[Firing], replica_role: bool) -> Vec<&Firing> {
    let acts = |f: &&Firing| match replica_role {
        true => matches!(f.enabled.as_str(), "A" | "R"),
        false => matches!(f.enabled.as_str(), "O" | "A"),
    };
    all.iter().filter(acts).collect()
}

/// The tables whose owner alone could hold them, and which are others'.
fn strangers(
    catalog: &Catalog,
    acting: &[&Firing],
    keys: &[(&ConstraintInfo, &ForeignKey)],
    replica_role: bool,
) -> Vec<String> {
    let of_keys = keys.iter().filter(|_| !replica_role).map(|(constraint, _)| constraint.table);
    let tables = acting.iter().map(|firing| firing.table).chain(of_keys);
    let relations = tables.filter_map(|oid| catalog.relation(oid)).filter(|r| !r.is_owner);
    let mut strangers: Vec<String> = relations.map(Relation::shown).collect();
    strangers.sort();
    strangers.dedup();
    strangers
}

fn beyond_reach(role: &str, strangers: &[String]) -> Failure {
    Failure::new(
        FailureKind::Access,
        format!("role {role} can neither set session_replication_role nor hold the triggers and foreign keys of {} as their owner", strangers.join(", ")),
    )
    .next(format!("connect as the tables' owner or a superuser, or (Postgres 15 and later) GRANT SET ON PARAMETER session_replication_role TO {}", ident(role)))
}

impl Held {
    /// Puts everything back as it was found, and proves it. In the owner's way the server checks the foreign keys
    /// here.
    pub async fn release(&self, client: &Client, catalog: &Catalog) -> Result<(), Failure> {
        for key in &self.foreign_keys {
            key.put_back(client, catalog).await?;
        }
        let now = read(client, &self.scope).await?;
        for firing in self.before.iter().filter(|f| !now.contains(f)) {
            set_firing(client, catalog, firing, &firing.enabled).await?;
        }
        if read(client, &self.scope).await? != self.before {
            return Err(Failure::failed("triggers or rules could not be enabled as they were found"));
        }
        Ok(())
    }
}

async fn set_firing(client: &Client, catalog: &Catalog, firing: &Firing, to: &str) -> Result<(), Failure> {
    let Some(relation) = catalog.relation(firing.table) else { return Ok(()) };
    let what = if firing.rule { "RULE" } else { "TRIGGER" };
    let verb = match to {
        "D" => format!("DISABLE {what}"),
        "A" => format!("ENABLE ALWAYS {what}"),
        "R" => format!("ENABLE REPLICA {what}"),
        _ => format!("ENABLE {what}"),
    };
    // Rules are no partition's business, and ALTER TABLE ONLY … RULE is not accepted for them everywhere.
    let only = if firing.rule { "" } else { "ONLY " };
    let sql = format!("ALTER TABLE {only}{} {verb} {}", relation.quoted(), quote::ident(&firing.name));
    client.batch_execute(&sql).await.map_err(|e| {
        Failure::from_server(&e).while_doing(format!("{what} {} of table {}", firing.name, relation.shown()))
    })
}

/// The triggers and rules of the tables, those that belong to foreign keys and deferrable keys left out: they are
/// the server's own.
async fn read(client: &Client, tables: &[u32]) -> Result<Vec<Firing>, Failure> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let list = tables.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT t.tgrelid, t.tgname::pg_catalog.text, false, t.tgenabled::pg_catalog.text
           FROM pg_catalog.pg_trigger t
           LEFT JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
          WHERE t.tgrelid IN ({list}) AND (k.oid IS NULL OR k.contype = 't')
         UNION ALL
         SELECT r.ev_class, r.rulename::pg_catalog.text, true, r.ev_enabled::pg_catalog.text
           FROM pg_catalog.pg_rewrite r
          WHERE r.ev_class IN ({list}) AND r.ev_type IN ('2', '3', '4')
          ORDER BY 1, 3, 2"
    );
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Firing { table: row.get(0), name: row.get(1), rule: row.get(2), enabled: row.get(3) })
        .collect())
}
