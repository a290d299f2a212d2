//! From one access control list to another: the GRANTs and REVOKEs between them.
//!
//! A list is the server's own text of `aclitem`s, `grantee=privileges/grantor` each, where `*` behind a privilege's letter
//! is its grant option and no grantee means PUBLIC (manual, 5.8). The order of items is the order in which they were
//! granted, and is kept: who gave a privilege must have had it before.

use crate::schema::Grant;
use crate::schema::script::ident;

/// What privileges are on, and how a statement says so.
#[derive(Clone, Copy, Debug)]
pub struct On<'a> {
    /// Comes before GRANT and REVOKE: empty, or `ALTER DEFAULT PRIVILEGES … ` with a blank at its end.
    pub prefix: &'a str,
    /// `TABLE`, `FUNCTION` and the like, or their plurals in default privileges.
    pub word: &'a str,
    /// The object's name as SQL, empty in default privileges.
    pub name: &'a str,
    /// The column, quoted, if it is one's.
    pub column: Option<&'a str>,
    /// The owner, unquoted.
    pub owner: &'a str,
}

/// Letters and words of the privileges that a kind of object has.
fn privileges(word: &str, of_column: bool) -> &'static [(char, &'static str)] {
    match word {
        "TABLE" if of_column => &[('r', "SELECT"), ('a', "INSERT"), ('x', "REFERENCES"), ('w', "UPDATE")],
        "TABLE" | "TABLES" => &[
            ('r', "SELECT"),
            ('a', "INSERT"),
            ('x', "REFERENCES"),
            ('d', "DELETE"),
            ('t', "TRIGGER"),
            ('D', "TRUNCATE"),
            ('m', "MAINTAIN"),
            ('w', "UPDATE"),
        ],
        "SEQUENCE" | "SEQUENCES" => &[('r', "SELECT"), ('U', "USAGE"), ('w', "UPDATE")],
        "FUNCTION" | "FUNCTIONS" | "PROCEDURE" => &[('X', "EXECUTE")],
        "LARGE OBJECT" | "LARGE OBJECTS" => &[('r', "SELECT"), ('w', "UPDATE")],
        "SCHEMA" | "SCHEMAS" => &[('C', "CREATE"), ('U', "USAGE")],
        "DATABASE" => &[('C', "CREATE"), ('c', "CONNECT"), ('T', "TEMPORARY")],
        // Languages, types, foreign-data wrappers, foreign servers.
        _ => &[('U', "USAGE")],
    }
}

/// One item, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Item<'a> {
    /// None for PUBLIC.
    grantee: Option<String>,
    letters: &'a str,
    grantor: String,
}

impl<'a> Item<'a> {
    fn parse(text: &'a str) -> Option<Item<'a>> {
        let (grantee, rest) = role(text);
        let (letters, grantor) = rest.strip_prefix('=')?.split_once('/')?;
        let (grantor, _) = role(grantor);
        Some(Item { grantee: Some(grantee).filter(|g| !g.is_empty()), letters, grantor })
    }

    /// The words of the privileges held without and with grant option; `ALL` where that is what they are.
    fn words(&self, on: &On<'_>, version: u32) -> (String, String) {
        let (mut plain, mut with_option) = (Vec::new(), Vec::new());
        let mut known = 0;
        for (letter, word) in privileges(on.word, on.column.is_some()) {
            if *letter == 'm' && version < 170_000 {
                continue;
            }
            known += 1;
            let Some(position) = self.letters.find(*letter) else { continue };
            let list =
                if self.letters[position + 1..].starts_with('*') { &mut with_option } else { &mut plain };
            list.push(*word);
        }
        let join = |words: Vec<&'static str>| {
            let words = if words.len() == known { vec!["ALL"] } else { words };
            let of_column = on.column.map(|c| format!("({c})")).unwrap_or_default();
            words.iter().map(|w| format!("{w}{of_column}")).collect::<Vec<_>>().join(", ")
        };
        (join(plain), join(with_option))
    }
}

/// The role's name at the front of `text`, and what is behind it. Names that need it stand in double quotes; which need
/// it differs between versions.
fn role(text: &str) -> (String, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('=').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut name = String::new();
    while let Some(end) = rest.find('"') {
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        let Some(more) = rest.strip_prefix('"') else { break };
        name.push('"');
        rest = more;
    }
    (name, rest)
}

fn to_sql(role: &Option<String>) -> String {
    role.as_deref().map_or_else(|| "PUBLIC".to_owned(), ident)
}

/// What is to be run by who may, to get from the list `from` to the list `to` on a server of this `version`.
///
/// What is taken away comes first, then what the owner has, because a GRANT by the owner would bring its usual privileges
/// along.
pub fn between(on: &On<'_>, from: &[String], to: &[String], version: u32) -> Vec<Grant> {
    let mut first = Vec::new();
    let mut second = Vec::new();
    for text in from.iter().filter(|item| !to.contains(item)) {
        let Some(item) = Item::parse(text) else { continue };
        // What a role had at the beginning may have outlived it; then its number stands for its name.
        if item.grantee.as_ref().is_some_and(|g| g.bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        // Without grant options REVOKE takes both.
        let both = Item { letters: &item.letters.replace('*', ""), ..item };
        let (words, _) = both.words(on, version);
        if !words.is_empty() {
            let sql = format!("{}REVOKE {words} ON {} FROM {}", on.prefix, target(on), to_sql(&both.grantee));
            first.push(Grant { sql, grantor: None, roles: both.grantee.into_iter().collect() });
        }
    }
    for text in to.iter().filter(|item| !from.contains(item)) {
        let Some(item) = Item::parse(text) else { continue };
        let by_owner = item.grantor.is_empty() || item.grantor == on.owner;
        let to_owner = by_owner && item.grantee.as_deref() == Some(on.owner);
        let (plain, with_option) = item.words(on, version);
        for (words, option) in [(plain, ""), (with_option, " WITH GRANT OPTION")] {
            if words.is_empty() {
                continue;
            }
            let sql =
                format!("{}GRANT {words} ON {} TO {}{option}", on.prefix, target(on), to_sql(&item.grantee));
            let grantor = Some(item.grantor.clone()).filter(|_| !by_owner);
            let grant = Grant { sql, grantor, roles: item.grantee.iter().cloned().collect() };
            if to_owner { first.push(grant) } else { second.push(grant) }
        }
    }
    first.append(&mut second);
    first
}

fn target(on: &On<'_>) -> String {
    format!("{} {}", on.word, on.name).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: On<'_> = On { prefix: "", word: "TABLE", name: "public.t", column: None, owner: "ann" };

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|i| (*i).to_owned()).collect()
    }

    fn sql(on: &On<'_>, from: &[&str], to: &[&str]) -> Vec<String> {
        between(on, &list(from), &list(to), 180_000).into_iter().map(|g| g.sql).collect()
    }

    #[test]
    fn equal_lists_need_nothing_whatever_their_order() {
        assert!(sql(&TABLE, &["ann=r/ann", "=r/ann"], &["=r/ann", "ann=r/ann"]).is_empty());
    }

    #[test]
    fn what_is_gone_is_revoked_then_the_owner_then_others_in_their_order() {
        assert_eq!(
            sql(&TABLE, &["ann=arwdDxtm/ann"], &["=r/ann", "bob=arwdDxtm/ann", "ann=ar*w/ann"]),
            [
                "REVOKE ALL ON TABLE public.t FROM ann",
                "GRANT INSERT, UPDATE ON TABLE public.t TO ann",
                "GRANT SELECT ON TABLE public.t TO ann WITH GRANT OPTION",
                "GRANT SELECT ON TABLE public.t TO PUBLIC",
                "GRANT ALL ON TABLE public.t TO bob",
            ]
        );
    }

    #[test]
    fn all_depends_on_what_the_server_knows() {
        let to = list(&["bob=arwdDxt/ann"]);
        assert_eq!(between(&TABLE, &[], &to, 160_000)[0].sql, "GRANT ALL ON TABLE public.t TO bob");
        assert!(
            between(&TABLE, &[], &to, 170_000)[0].sql.contains("GRANT SELECT, INSERT, REFERENCES, DELETE")
        );
    }

    #[test]
    fn one_who_passes_a_privilege_on_is_the_one_to_grant_it() {
        let grants = between(&TABLE, &[], &list(&["bob=r*/ann", "cat=r/bob"]), 180_000);
        assert_eq!(grants[0].grantor, None);
        assert_eq!(grants[1].grantor.as_deref(), Some("bob"));
        assert_eq!(grants[1].roles, ["cat"]);
    }

    #[test]
    fn columns_are_named_behind_each_privilege() {
        let on = On { column: Some("\"a b\""), ..TABLE };
        assert_eq!(
            sql(&on, &[], &["bob=rw/ann", "cat=arwx/ann"]),
            [
                r#"GRANT SELECT("a b"), UPDATE("a b") ON TABLE public.t TO bob"#,
                r#"GRANT ALL("a b") ON TABLE public.t TO cat"#,
            ]
        );
    }

    #[test]
    fn names_are_read_with_and_without_quotes() {
        let text = r#""a ""=/b"=r/"x=y""#;
        let item = Item { grantee: Some(r#"a "=/b"#.into()), letters: "r", grantor: "x=y".into() };
        assert_eq!(Item::parse(text), Some(item));
        let item = Item { grantee: Some("größe".into()), letters: "r", grantor: "größe".into() };
        assert_eq!(Item::parse("größe=r/größe").as_ref(), Some(&item));
        assert_eq!(Item::parse(r#""größe"=r/"größe""#), Some(item));
        assert_eq!(Item::parse("nonsense"), None);
    }

    #[test]
    fn a_role_that_is_gone_has_nothing_to_lose() {
        assert!(sql(&TABLE, &["16400=r/ann"], &[]).is_empty());
    }

    #[test]
    fn default_privileges_name_no_object() {
        let on = On {
            prefix: "ALTER DEFAULT PRIVILEGES FOR ROLE ann ",
            word: "FUNCTIONS",
            name: "",
            column: None,
            owner: "ann",
        };
        assert_eq!(
            sql(&on, &["=X/ann", "ann=X/ann"], &["ann=X/ann"]),
            ["ALTER DEFAULT PRIVILEGES FOR ROLE ann REVOKE ALL ON FUNCTIONS FROM PUBLIC"]
        );
    }
}
