//! Triggers, event triggers and rules: what acts when something happens.

use std::collections::HashMap;

use futures_util::future::try_join4;
use tokio_postgres::{Error, Row};

use super::draft::{Draft, Part, Reader, at, class, of_table, post_data};
use super::present::Group;
use crate::schema::{Kind, Object};

/// Triggers that somebody made, and those of partitions that are not enabled as what they come from is. Those of the
/// server's own (foreign keys) are left out, also where a partition has them from its parent.
const TRIGGERS: &str = "
SELECT t.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, t.tgname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.quote_ident(t.tgname), c.relkind::pg_catalog.text, t.tgenabled::pg_catalog.text,
       t.tgparentid <> 0, pg_catalog.pg_get_triggerdef(t.oid, false), k.oid
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_trigger u ON u.oid = t.tgparentid
  LEFT JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
 WHERE (NOT t.tgisinternal AND t.tgparentid = 0 OR t.tgenabled <> u.tgenabled)
   AND (k.oid IS NULL OR k.contype = 't')
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3, 4";

/// Triggers that a partition has from its parent.
const CLONES: &str = "
SELECT t.oid, t.tgparentid,
       pg_catalog.quote_ident(t.tgname) || ' ON ' || pg_catalog.quote_ident(n.nspname) || '.'
         || pg_catalog.quote_ident(c.relname)
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE t.tgparentid <> 0
 ORDER BY t.oid";

/// Rules but for those that make a view a view.
const RULES: &str = "
SELECT r.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, r.rulename::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.quote_ident(r.rulename), r.ev_enabled::pg_catalog.text, pg_catalog.pg_get_ruledef(r.oid)
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE r.rulename <> '_RETURN' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3, 4";

const EVENT_TRIGGERS: &str = "
SELECT e.oid, e.evtname::pg_catalog.text, pg_catalog.quote_ident(e.evtname),
       pg_catalog.quote_ident(e.evtevent), e.evtenabled::pg_catalog.text,
       pg_catalog.pg_get_userbyid(e.evtowner)::pg_catalog.text,
       (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(x.tag), ', ' ORDER BY x.n)
          FROM pg_catalog.unnest(e.evttags) WITH ORDINALITY x (tag, n)),
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
  FROM pg_catalog.pg_event_trigger e
  JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 ORDER BY 2";

/// All triggers, rules and event triggers.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (triggers, clones, rules, events) = try_join4(
        reader.rows_of(Group::Triggers, TRIGGERS),
        reader.rows_of(Group::Triggers, CLONES),
        reader.rows_of(Group::Rules, RULES),
        reader.rows_of(Group::EventTriggers, EVENT_TRIGGERS),
    )
    .await?;
    let mut drafts: Vec<Draft> = triggers.iter().filter_map(trigger).collect();
    add_clones(&mut drafts, &clones);
    drafts.extend(rules.iter().filter_map(rule));
    drafts.extend(events.iter().map(event_trigger));
    Ok(drafts)
}

/// How `ALTER` calls the state that a catalog gives as a letter; none for that of a new trigger or rule.
fn state(letter: &str) -> Option<&'static str> {
    match letter {
        "D" => Some("DISABLE"),
        "A" => Some("ENABLE ALWAYS"),
        "R" => Some("ENABLE REPLICA"),
        _ => None,
    }
}

fn trigger(row: &Row) -> Option<Draft> {
    let (sql, name): (&str, &str) = (row.get(4), row.get(5));
    let of_partition: bool = row.get(8);
    let table = if row.get::<_, &str>(6) == "f" { "FOREIGN TABLE" } else { "TABLE" };
    let mut object = post_data(of_table(
        Kind::Trigger,
        format!("TRIGGER {name} ON {sql}"),
        row.get::<_, &str>(3),
        (row.get(1), row.get(2)),
    ));
    // A partition's comes with its parent's, only its state is its own.
    let mut state = state(row.get(7));
    if of_partition {
        state = state.or(Some("ENABLE"));
    } else {
        object.create.push(row.get::<_, Option<String>>(9)?);
        object.drop = vec![format!("DROP TRIGGER {name} ON {sql}")];
    }
    if let Some(state) = state {
        object.create.push(format!("ALTER {table} {sql} {state} TRIGGER {name}"));
    }
    let mut draft = Draft::new(at(class::TRIGGER, row.get(0)), object);
    if let Some(oid) = row.get::<_, Option<u32>>(10) {
        let identity = Some(format!("CONSTRAINT {name} ON {sql}"));
        draft.parts.push(Part { at: at(class::CONSTRAINT, oid), identity });
    }
    Some(draft)
}

/// Partitions' triggers are parts of what they come from, unless they are drafts of their own.
fn add_clones(drafts: &mut [Draft], clones: &[Row]) {
    let position: HashMap<u32, usize> = drafts.iter().enumerate().map(|(i, d)| (d.at.oid, i)).collect();
    let parents: HashMap<u32, u32> = clones.iter().map(|c| (c.get(0), c.get(1))).collect();
    for clone in clones {
        let oid: u32 = clone.get(0);
        // Of the nearest that is a draft: one half-way down has to be there before those below it.
        let mut of = oid;
        while let (false, Some(parent)) = (position.contains_key(&of), parents.get(&of)) {
            of = *parent;
        }
        if let (true, Some(draft)) = (of != oid, position.get(&of)) {
            let identity = Some(format!("TRIGGER {}", clone.get::<_, &str>(2)));
            drafts[*draft].parts.push(Part { at: at(class::TRIGGER, oid), identity });
        }
    }
}

fn rule(row: &Row) -> Option<Draft> {
    let (sql, name): (&str, &str) = (row.get(4), row.get(5));
    let definition: &str = row.get::<_, Option<&str>>(7)?;
    let mut object = post_data(of_table(
        Kind::Rule,
        format!("RULE {name} ON {sql}"),
        row.get::<_, &str>(3),
        (row.get(1), row.get(2)),
    ));
    object.create.push(definition.trim_end().trim_end_matches(';').to_owned());
    if let Some(state) = state(row.get(6)) {
        object.create.push(format!("ALTER TABLE {sql} {state} RULE {name}"));
    }
    object.drop = vec![format!("DROP RULE {name} ON {sql}")];
    Some(Draft::new(at(class::REWRITE, row.get(0)), object))
}

fn event_trigger(row: &Row) -> Draft {
    let (name, event, function): (&str, &str, &str) = (row.get(2), row.get(3), row.get(7));
    let when =
        row.get::<_, Option<&str>>(6).map(|tags| format!("\n    WHEN TAG IN ({tags})")).unwrap_or_default();
    let mut object = post_data(Object::new(
        Kind::EventTrigger,
        format!("EVENT TRIGGER {name}"),
        None,
        row.get::<_, &str>(1),
    ));
    object.owner = row.get(5);
    object.create =
        vec![format!("CREATE EVENT TRIGGER {name} ON {event}{when}\n    EXECUTE FUNCTION {function}()")];
    if let Some(state) = state(row.get(4)) {
        object.create.push(format!("ALTER EVENT TRIGGER {name} {state}"));
    }
    object.drop = vec![format!("DROP EVENT TRIGGER {name}")];
    Draft::new(at(class::EVENT_TRIGGER, row.get(0)), object)
}
