//! Privileges of everything that has them, as what leads to them from those that a new object has.
//!
//! A new object has what the server gives it (`acldefault`), and what comes with the server or an extension has what it
//! came with (`pg_init_privs`); there an object needs no statement of its own unless somebody changed its privileges.

use tokio_postgres::{Error, Row};

use super::acl::{self, On};
use super::draft::{Address, Draft, Reader, at, class, post_data};
use super::present::Group;
use crate::postgres::quote;
use crate::schema::{Grant, Kind, Object, script};

/// The privileges of one object and its columns.
#[derive(Clone, Debug)]
pub struct Privileges {
    /// The object.
    pub at: Address,
    /// What it is called where privileges are all that is known of it, such as `FUNCTION pg_catalog.pg_stat_reset()`.
    pub identity: String,
    /// Its schema, unquoted.
    pub schema: Option<String>,
    /// Its name, unquoted.
    pub name: String,
    /// What makes its privileges what they are.
    pub grants: Vec<Grant>,
    /// What makes them what they were at first.
    pub undo: Vec<String>,
}

/// Objects with privileges: class, number, column's number, column, word for it, name, schema and name unquoted, owner,
/// kind for `acldefault`, privileges. Those in system schemas other than `pg_catalog` are nobody's to change.
const OBJECTS: &str = "
SELECT 1259::pg_catalog.oid AS class, c.oid, 0 AS sub, NULL::pg_catalog.text AS col,
       CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS word,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS sql,
       n.nspname AS schema, c.relname::pg_catalog.text AS name, c.relowner AS owner,
       CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::pg_catalog.\"char\" AS kind, c.relacl AS acl
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p')
   AND (c.relacl IS NOT NULL OR c.oid IN (SELECT i.objoid FROM initial i WHERE i.classoid = 1259))
UNION ALL
SELECT 1259, c.oid, a.attnum, pg_catalog.quote_ident(a.attname), 'TABLE',
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       n.nspname, c.relname::pg_catalog.text, c.relowner, 'c', a.attacl
  FROM columns a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p')
UNION ALL
SELECT 1255, p.oid, 0, NULL, CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
       -- GRANT knows no aggregates and takes no ORDER BY among their arguments.
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) || '('
         || CASE p.prokind WHEN 'a' THEN pg_catalog.array_to_string(ARRAY(
              SELECT pg_catalog.format_type(t.oid, NULL)
                FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY t (oid, n) ORDER BY t.n), ', ')
            ELSE pg_catalog.pg_get_function_identity_arguments(p.oid) END || ')',
       n.nspname, p.proname::pg_catalog.text, p.proowner, 'f', p.proacl
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.proacl IS NOT NULL OR p.oid IN (SELECT i.objoid FROM initial i WHERE i.classoid = 1255)
UNION ALL
SELECT 1247, t.oid, 0, NULL, 'TYPE',
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
       n.nspname, t.typname::pg_catalog.text, t.typowner, 'T', t.typacl
  FROM types t
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
 -- Types of tables, arrays and multiranges have none of their own that anybody would want.
 WHERE (c.relkind IS NULL OR c.relkind = 'c') AND t.typtype <> 'm'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
UNION ALL
SELECT 2615, n.oid, 0, NULL, 'SCHEMA', pg_catalog.quote_ident(n.nspname),
       n.nspname, n.nspname::pg_catalog.text, n.nspowner, 'n', n.nspacl
  FROM pg_catalog.pg_namespace n
UNION ALL
SELECT 2612, l.oid, 0, NULL, 'LANGUAGE', pg_catalog.quote_ident(l.lanname),
       NULL, l.lanname::pg_catalog.text, l.lanowner, 'l', l.lanacl
  FROM pg_catalog.pg_language l
UNION ALL
SELECT 2328, f.oid, 0, NULL, 'FOREIGN DATA WRAPPER', pg_catalog.quote_ident(f.fdwname),
       NULL, f.fdwname::pg_catalog.text, f.fdwowner, 'F', f.fdwacl
  FROM pg_catalog.pg_foreign_data_wrapper f
UNION ALL
SELECT 1417, s.oid, 0, NULL, 'FOREIGN SERVER', pg_catalog.quote_ident(s.srvname),
       NULL, s.srvname::pg_catalog.text, s.srvowner, 'S', s.srvacl
  FROM pg_catalog.pg_foreign_server s
UNION ALL
SELECT 2613, m.oid, 0, NULL, 'LARGE OBJECT', m.oid::pg_catalog.text,
       NULL, m.oid::pg_catalog.text, m.lomowner, 'L', m.lomacl
  FROM pg_catalog.pg_largeobject_metadata m";

/// Only those whose privileges differ from what they had at first, and the schema `public`, see [`of_public`].
fn query() -> String {
    format!(
        "WITH initial AS (SELECT * FROM pg_catalog.pg_init_privs),
              -- Few of many: to be found first, whatever the planner thinks.
              columns AS MATERIALIZED (
                SELECT a.attrelid, a.attnum, a.attname, a.attacl FROM pg_catalog.pg_attribute a
                 WHERE NOT a.attisdropped
                   AND (a.attacl IS NOT NULL OR (a.attrelid, a.attnum) IN (
                         SELECT i.objoid, i.objsubid FROM initial i WHERE i.classoid = 1259))),
              types AS MATERIALIZED (
                SELECT t.* FROM pg_catalog.pg_type t
                 WHERE t.typacl IS NOT NULL
                    OR t.oid IN (SELECT i.objoid FROM initial i WHERE i.classoid = 1247))
         SELECT o.class, o.oid, o.col, o.word, o.sql, o.schema::pg_catalog.text, o.name,
                pg_catalog.pg_get_userbyid(o.owner)::pg_catalog.text,
                COALESCE(o.acl, pg_catalog.acldefault(o.kind, o.owner))::pg_catalog.text[],
                COALESCE(i.initprivs, pg_catalog.acldefault(o.kind, o.owner))::pg_catalog.text[]
           FROM ({OBJECTS}) o
           LEFT JOIN initial i
             ON i.classoid = o.class AND i.objoid = o.oid AND i.objsubid = o.sub
          WHERE (o.acl IS DISTINCT FROM i.initprivs OR o.class = 2615 AND o.schema = 'public')
            AND o.sql IS NOT NULL
            AND (o.schema IS NULL OR o.schema = 'pg_catalog'
                 OR o.schema !~ '^pg_' AND o.schema <> 'information_schema')
          ORDER BY o.class, o.oid, o.sub"
    )
}

/// The privileges of all objects that do not have just those that they were born with.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Privileges>, Error> {
    let mut all: Vec<Privileges> = Vec::new();
    for row in reader.rows(&query()).await? {
        let at = at(row.get(0), row.get(1));
        let grants = grants(&row, at, reader.version);
        if grants.is_empty() {
            continue;
        }
        let undo = undo(&row, reader.version);
        match all.last_mut().filter(|last| last.at == at) {
            Some(last) => {
                last.grants.extend(grants);
                last.undo.extend(undo);
            }
            None => {
                let (word, sql): (&str, &str) = (row.get(3), row.get(4));
                all.push(Privileges {
                    at,
                    identity: format!("{word} {sql}"),
                    schema: row.get(5),
                    name: row.get(6),
                    grants,
                    undo,
                });
            }
        }
    }
    Ok(all)
}

fn on(row: &Row) -> On<'_> {
    On { prefix: "", word: row.get(3), name: row.get(4), column: row.get(2), owner: row.get(7) }
}

fn undo(row: &Row, version: u32) -> Vec<String> {
    let (acl, base): (Vec<String>, Vec<String>) = (row.get(8), row.get(9));
    script::grants(&acl::between(&on(row), &acl, &base, version), &script::Style::default())
}

fn grants(row: &Row, at: Address, version: u32) -> Vec<Grant> {
    let on = on(row);
    let acl: Vec<String> = row.get(8);
    let base: Vec<String> = row.get(9);
    if at.class == class::NAMESPACE && on.name == "public" {
        return of_public(&on, &acl, version);
    }
    acl::between(&on, &base, &acl, version)
}

/// A new database has a schema `public` with privileges that depend on its server's version (since 15, only its owner may
/// create anything there), whatever a `pg_init_privs` of long ago says; and `ALTER SCHEMA … OWNER TO` takes them along.
fn of_public(on: &On<'_>, acl: &[String], version: u32) -> Vec<Grant> {
    let owner = item_name(on.owner, acl);
    let owners = format!("{owner}=UC/{owner}");
    if version >= 150_000 {
        return acl::between(on, &[owners, format!("=U/{owner}")], acl, version);
    }
    // Where this comes from, everybody has both or what is left of it; where it goes to may be either kind.
    let mut grants =
        acl::between(on, &[owners.clone(), format!("=UC/{owner}")], std::slice::from_ref(&owners), version);
    grants.extend(acl::between(on, &[owners], acl, version));
    grants
}

/// The owner's name as this server spells it in lists.
fn item_name(owner: &str, acl: &[String]) -> String {
    let plain = owner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let quoted = quote::ident(owner);
    match acl.iter().any(|item| item.ends_with(&format!("/{quoted}"))) {
        false if plain || !owner.is_ascii() => owner.to_owned(),
        _ => quoted,
    }
}

/// What new objects are granted: of a role, in a schema or everywhere.
const DEFAULTS: &str = "
SELECT d.oid, r.rolname::pg_catalog.text, n.nspname::pg_catalog.text,
       'ALTER DEFAULT PRIVILEGES FOR ROLE ' || pg_catalog.quote_ident(r.rolname) || ' '
         || COALESCE('IN SCHEMA ' || pg_catalog.quote_ident(n.nspname) || ' ', ''),
       CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
            WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' WHEN 'L' THEN 'LARGE OBJECTS' END,
       d.defaclacl::pg_catalog.text[],
       CASE WHEN d.defaclnamespace = 0 THEN pg_catalog.acldefault(
              CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)
            ELSE '{}' END::pg_catalog.text[]
  FROM pg_catalog.pg_default_acl d
  JOIN pg_catalog.pg_roles r ON r.oid = d.defaclrole
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
 WHERE (d.defaclnamespace = 0 OR n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
 ORDER BY 2, 3, 5";

/// Default privileges. They are made last: objects of the archive have privileges of their own.
pub async fn defaults(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let mut drafts = Vec::new();
    for row in reader.rows_of(Group::DefaultPrivileges, DEFAULTS).await? {
        let Some(word) = row.get::<_, Option<&str>>(4) else { continue };
        let owner: String = row.get(1);
        let prefix: &str = row.get(3);
        let on = On { prefix, word, name: "", column: None, owner: &owner };
        let (acl, base): (Vec<String>, Vec<String>) = (row.get(5), row.get(6));
        let identity = format!("{} ON {word}", prefix.trim_start_matches("ALTER ").trim_end());
        let mut object =
            post_data(Object::new(Kind::DefaultPrivileges, identity, row.get(2), owner.as_str()));
        object.privileges = acl::between(&on, &base, &acl, reader.version);
        for grant in &mut object.privileges {
            grant.roles.push(owner.clone());
        }
        object.drop =
            acl::between(&on, &acl, &base, reader.version).into_iter().map(|grant| grant.sql).collect();
        drafts.push(Draft::new(at(class::DEFAULT_ACL, row.get(0)), object));
    }
    Ok(drafts)
}
