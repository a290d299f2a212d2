//! Tables that the server cannot plan a query of.
//!
//! A page range is a query, as is a table whose rows begin with their places, and to plan one the server looks into the
//! expressions of the table's indexes and statistics: SQL functions among them are expanded, and under the empty path such
//! a function may miss what it calls. `COPY` of the whole table is no query and looks at none of that.

use std::collections::HashSet;

use tokio_postgres::{Client, Error};

use super::plan::{Plan, Unit};
use crate::postgres::catalog::{Catalog, Relation};

/// Tables that are asked about together.
const BATCH: usize = 200;

/// Makes one unit, by no query, of each table whose queries the server cannot plan. To be called in the transaction that
/// reads them.
pub async fn give_up_unplannable(client: &Client, catalog: &Catalog, plan: &mut Plan) -> Result<(), Error> {
    // What an extension's condition means, a whole table does not; nor do rows that were chosen.
    let is_asked = |u: &&Unit| u.is_query() && !u.chosen && plan.parts[u.table as usize].is_all();
    let queried: HashSet<u32> = plan.units.iter().filter(is_asked).map(|u| u.relation).collect();
    let ranged: Vec<&Relation> = catalog.relations.iter().filter(|r| queried.contains(&r.oid)).collect();
    for batch in ranged.chunks(BATCH) {
        if can_plan(client, batch).await? {
            continue;
        }
        for relation in batch {
            if !can_plan(client, std::slice::from_ref(relation)).await? {
                plan.unite(relation, &catalog.server.encoding);
            }
        }
    }
    Ok(())
}

/// Whether the server can plan queries of these tables.
async fn can_plan(client: &Client, relations: &[&Relation]) -> Result<bool, Error> {
    let selects: Vec<String> = relations.iter().map(|r| format!("SELECT FROM ONLY {}", r.quoted())).collect();
    client.batch_execute("SAVEPOINT pgkeep_plan").await?;
    match client.batch_execute(&format!("EXPLAIN {}", selects.join(" UNION ALL "))).await {
        Ok(()) => client.batch_execute(BACK).await.map(|()| true),
        // Whatever is wrong with the table itself, reading it will tell.
        Err(error) if error.as_db_error().is_some() => client.batch_execute(BACK).await.map(|()| false),
        Err(error) => Err(error),
    }
}

/// Planning has locked the indexes. Were these locks kept, REINDEX would wait for the leader, workers that plan would wait
/// for REINDEX, and the leader for the workers: no server sees that.
const BACK: &str = "ROLLBACK TO SAVEPOINT pgkeep_plan; RELEASE SAVEPOINT pgkeep_plan";
