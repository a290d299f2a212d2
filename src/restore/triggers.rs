//! Keeps triggers, rules and foreign-key actions from acting on what is restored: an `updated_at` trigger would
//! change the rows, a stock-keeping one other tables, ON DELETE CASCADE would delete what the archive keeps.
//!
//! All of it happens inside the restoring transaction, so that no crash can leave anything disabled, and
//! [`Held::release`] proves before commit that everything is enabled as it was found.
//!
//! Two ways. Where the role may set `session_replication_role` (superusers; from 15 on by GRANT SET), it is set to
//! `replica` for the transaction: neither triggers nor foreign keys act, except triggers and rules that are marked
//! ALWAYS or REPLICA, which are disabled one by one. Elsewhere an owner disables the triggers and rules, and takes
//! the foreign keys off and on again, whereby the server itself checks them; those of others' tables stay on
//! (`left_on`).

use std::collections::BTreeMap;

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
    /// Disabled by their tables' owner; his foreign keys dropped and added again.
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
    /// What became of each foreign key where the replica role is not set.
    pub keys: BTreeMap<String, foreign_keys::Way>,
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
    let strangers = strangers(catalog, &acting);
    if !strangers.is_empty() {
        return Err(beyond_reach(catalog, &strangers, replica_role));
    }
    let keys = if replica_role { Vec::new() } else { plan.foreign_keys(catalog) };
    let ways = keys.iter().map(|(constraint, key)| foreign_keys::way(catalog, constraint, key));
    let keys: Vec<(&ConstraintInfo, foreign_keys::Way)> = keys.iter().map(|(c, _)| *c).zip(ways).collect();
    let own: Vec<&ConstraintInfo> =
        keys.iter().filter(|(_, way)| *way == foreign_keys::Way::TakenOff).map(|(c, _)| *c).collect();
    let way = match replica_role {
        true => Way::ReplicaRole,
        false if acting.is_empty() && own.is_empty() => Way::NothingToHold,
        false => Way::Owner,
    };
    if !own.is_empty() {
        foreign_keys::refuse_switched_off(client, &catalog.server.role, &scope).await?;
    }
    for firing in acting {
        set_firing(client, catalog, firing, "D").await?;
    }
    let keys =
        keys.iter().map(|(constraint, way)| (foreign_keys::shown(catalog, constraint), *way)).collect();
    let mut held = Held { way, keys, before, foreign_keys: Vec::new(), scope };
    for constraint in own {
        held.foreign_keys.extend(foreign_keys::take_off(client, catalog, constraint).await?);
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
    let strangers = strangers(catalog, &acting(&before, replica_role));
    if !strangers.is_empty() {
        return Ok(Some(beyond_reach(catalog, &strangers, replica_role)));
    }
    let takes_off = |(c, k): &(&ConstraintInfo, &ForeignKey)| {
        foreign_keys::way(catalog, c, k) == foreign_keys::Way::TakenOff
    };
    if replica_role || !plan.foreign_keys(catalog).iter().any(takes_off) {
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

/// The tables whose owner alone could hold what acts on them, and which are others'.
fn strangers<'a>(catalog: &'a Catalog, acting: &[&Firing]) -> Vec<&'a Relation> {
    let tables = acting.iter().filter_map(|firing| catalog.relation(firing.table));
    let mut strangers: Vec<&Relation> = tables.filter(|r| !r.is_owner).collect();
    strangers.sort_by_key(|r| r.shown());
    strangers.dedup_by_key(|r| r.oid);
    strangers
}

fn beyond_reach(catalog: &Catalog, strangers: &[&Relation], replica_role: bool) -> Failure {
    let role = &catalog.server.role;
    let named: Vec<String> = strangers.iter().map(|r| format!("{} (owner {})", r.shown(), r.owner)).collect();
    let named = named.join(", ");
    let mut next = "connect as the tables' owner or a superuser".to_owned();
    let what = if replica_role {
        format!(
            "role {role} cannot hold triggers and rules that are marked ALWAYS or REPLICA, which their table's owner alone can: {named}"
        )
    } else {
        if catalog.server.version_num >= 150_000 {
            next += &format!(", or GRANT SET ON PARAMETER session_replication_role TO {}", ident(role));
        }
        format!(
            "role {role} can neither set session_replication_role nor hold the triggers and rules of {named} as their owner"
        )
    };
    Failure::new(FailureKind::Access, what).next(next)
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
