//! The cluster's roles. Those that come with the server (`pg_…`) are left out.

use std::collections::HashMap;

use futures_util::future::try_join4;
use tokio_postgres::{Error, Row};

use super::configuration;
use super::draft::Reader;
use crate::postgres::quote;
use crate::schema::Role;
use crate::schema::script::ident;

/// Roles. Only who may read `pg_authid` gets passwords, and only from there.
fn roles(passwords: bool) -> String {
    let (password, table) =
        if passwords { ("r.rolpassword", "pg_authid") } else { ("NULL::pg_catalog.text", "pg_roles") };
    format!(
        "
SELECT r.rolname::pg_catalog.text, pg_catalog.quote_ident(r.rolname),
       pg_catalog.concat_ws(' ',
         CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
         CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
         CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
         CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
         CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
         CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
         CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
         CASE WHEN r.rolconnlimit <> -1 THEN 'CONNECTION LIMIT ' || r.rolconnlimit END,
         'PASSWORD ' || pg_catalog.quote_literal({password}),
         'VALID UNTIL ' || pg_catalog.quote_literal(r.rolvaliduntil::pg_catalog.text)),
       pg_catalog.shobj_description(r.oid, 'pg_authid')
  FROM pg_catalog.{table} r
 WHERE r.rolname !~ '^pg_'
 ORDER BY 1"
    )
}

const SETTINGS: &str = "
SELECT r.rolname::pg_catalog.text, x.entry
  FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY x (entry, n)
 WHERE s.setdatabase = 0
 ORDER BY r.rolname, x.n";

const LABELS: &str = "
SELECT r.rolname::pg_catalog.text, pg_catalog.quote_ident(l.provider), l.label
  FROM pg_catalog.pg_shseclabel l
  JOIN pg_catalog.pg_roles r ON l.classoid = 1260 AND l.objoid = r.oid
 ORDER BY 1, 2";

/// Who is a member of what, by whose grant. Before 16 the one who granted does not count, and there is one kind of grant.
/// What the first of all roles granted, any superuser's grant will be recorded as granted by.
fn memberships(reader: Reader<'_>) -> String {
    let options = reader.pick(
        16,
        "', INHERIT ' || CASE WHEN m.inherit_option THEN 'TRUE' ELSE 'FALSE' END
           || ', SET ' || CASE WHEN m.set_option THEN 'TRUE' ELSE 'FALSE' END",
        "''",
    );
    let grantor = reader.pick(16, "CASE WHEN m.grantor <> 10 THEN g.rolname END", "NULL");
    let admin = reader.pick(
        16,
        "' WITH ADMIN ' || CASE WHEN m.admin_option THEN 'TRUE' ELSE 'FALSE' END",
        "CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END",
    );
    format!(
        "
SELECT r.rolname::pg_catalog.text, u.rolname::pg_catalog.text, {grantor}::pg_catalog.text, m.admin_option,
       {admin} || {options}
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
  JOIN pg_catalog.pg_roles u ON u.oid = m.member
  LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
 WHERE NOT (r.rolname ~ '^pg_' AND u.rolname ~ '^pg_')
 ORDER BY 1, 2, 3"
    )
}

/// All roles that are not the server's own, by name.
pub async fn read(reader: Reader<'_>, passwords: bool) -> Result<Vec<Role>, Error> {
    let (roles, memberships) = (roles(passwords), memberships(reader));
    let (rows, settings, labels, memberships) =
        try_join4(reader.rows(&roles), reader.rows(SETTINGS), reader.rows(LABELS), reader.rows(&memberships))
            .await?;
    let mut roles: Vec<Role> = rows.iter().map(role).collect();
    let position: HashMap<String, usize> =
        roles.iter().enumerate().map(|(i, role)| (role.name.clone(), i)).collect();
    for row in &settings {
        if let (Some(&i), Some(set)) = (position.get(row.get::<_, &str>(0)), configuration::set(row.get(1))) {
            let sql = format!("ALTER ROLE {} {set}", ident(&roles[i].name));
            roles[i].create.push(sql);
        }
    }
    for row in &labels {
        if let Some(&i) = position.get(row.get::<_, &str>(0)) {
            let (name, provider) = (ident(&roles[i].name), row.get::<_, &str>(1));
            let label = quote::literal(row.get(2));
            roles[i].create.push(format!("SECURITY LABEL FOR {provider} ON ROLE {name} IS {label}"));
        }
    }
    let memberships = memberships
        .iter()
        .map(|row| Membership {
            of: row.get(0),
            member: row.get(1),
            grantor: row.get(2),
            admin: row.get(3),
            options: row.get(4),
        })
        .collect();
    place(memberships, &position, &mut roles);
    Ok(roles)
}

fn role(row: &Row) -> Role {
    let sql: &str = row.get(1);
    let mut create =
        vec![format!("CREATE ROLE {sql}"), format!("ALTER ROLE {sql} WITH {}", row.get::<_, &str>(2))];
    if let Some(comment) = row.get::<_, Option<&str>>(3) {
        create.push(format!("COMMENT ON ROLE {sql} IS {}", quote::literal(comment)));
    }
    Role { name: row.get(0), create, memberships: Vec::new() }
}

/// One grant of a role to another.
struct Membership {
    of: String,
    member: String,
    grantor: Option<String>,
    admin: bool,
    options: String,
}

/// Gives each grant to its member (or to the role itself where that is the server's own), or to a later role where its
/// grantor has the right to make it only then: the grants of all roles, one role after the other, are in an order that
/// works.
fn place(mut waiting: Vec<Membership>, position: &HashMap<String, usize>, roles: &mut [Role]) {
    // For a role and one who may pass it on: at which role's turn that is so.
    let mut admins: HashMap<(String, String), usize> = HashMap::new();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut left = Vec::new();
        for m in waiting {
            let own = position.get(&m.member).or_else(|| position.get(&m.of));
            let Some(&own) = own else { continue };
            let turn = match &m.grantor {
                None => own,
                Some(grantor) => match admins.get(&(m.of.clone(), grantor.clone())) {
                    Some(turn) => own.max(*turn),
                    None => {
                        left.push(m);
                        continue;
                    }
                },
            };
            roles[turn].memberships.push(m.sql());
            if m.admin {
                admins.entry((m.of, m.member)).or_insert(turn);
            }
        }
        waiting = left;
        if waiting.len() == before {
            // Grantors whose right comes from elsewhere, such as superusers: these may follow in any order.
            let Some(last) = roles.last_mut() else { return };
            last.memberships.extend(waiting.iter().map(Membership::sql));
            return;
        }
    }
}

impl Membership {
    fn sql(&self) -> String {
        let by = self.grantor.as_ref().map(|g| format!(" GRANTED BY {}", ident(g)));
        format!(
            "GRANT {} TO {}{}{}",
            ident(&self.of),
            ident(&self.member),
            self.options,
            by.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_passed_on_only_when_its_grantor_may() {
        let names = ["ann", "bob", "cat"];
        let mut roles: Vec<Role> = names
            .iter()
            .map(|name| Role { name: (*name).to_owned(), create: Vec::new(), memberships: Vec::new() })
            .collect();
        let position = names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), i)).collect();
        let grant = |of: &str, member: &str, grantor: Option<&str>, admin| Membership {
            of: of.to_owned(),
            member: member.to_owned(),
            grantor: grantor.map(str::to_owned),
            admin,
            options: String::new(),
        };
        let memberships = vec![
            grant("staff", "ann", Some("bob"), false),
            grant("staff", "bob", Some("cat"), true),
            grant("staff", "cat", None, true),
            grant("guests", "bob", Some("root"), false),
            grant("pg_read_all_data", "pg_monitor", None, false),
            grant("cat", "pg_monitor", None, false),
        ];
        place(memberships, &position, &mut roles);
        let order: Vec<&str> = roles.iter().flat_map(|r| &r.memberships).map(String::as_str).collect();
        assert_eq!(
            order,
            [
                "GRANT staff TO cat",
                "GRANT cat TO pg_monitor",
                "GRANT staff TO bob GRANTED BY cat",
                "GRANT staff TO ann GRANTED BY bob",
                "GRANT guests TO bob GRANTED BY root"
            ]
        );
    }
}
