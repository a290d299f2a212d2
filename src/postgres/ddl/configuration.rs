//! Settings of roles and databases as SQL: `SET name TO value`.

use crate::postgres::quote;
use crate::schema::script::ident;

/// Settings whose value is a list of names, stored as one text with each name quoted where it must be: the server's
/// `GUC_LIST_QUOTE`. Quoted as a whole, such a text would be one odd name.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// `SET name TO value` from `name=value` as `pg_db_role_setting` has it.
pub fn set(entry: &str) -> Option<String> {
    let (name, value) = entry.split_once('=')?;
    let value = match LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) {
        true => {
            let items: Vec<String> = items(value).iter().map(|item| quote::literal(item)).collect();
            if items.is_empty() { "''".to_owned() } else { items.join(", ") }
        }
        false => quote::literal(value),
    };
    Some(format!("SET {} TO {value}", ident(name)))
}

/// The names in a list, without their quotes.
fn items(list: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let mut item = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some(end) = rest.find('"') {
                item.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                let Some(more) = rest.strip_prefix('"') else { break };
                item.push('"');
                rest = more;
            }
        }
        let end = rest.find(',').unwrap_or(rest.len());
        item.push_str(rest[..end].trim_end());
        items.push(item);
        rest = rest[end..].trim_start_matches(',').trim_start();
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_keeps_its_items_apart() {
        let sql = |entry| set(entry).unwrap_or_default();
        assert_eq!(
            sql("search_path=\"$user\", public,\"a \"\", b\""),
            "SET search_path TO '$user', 'public', 'a \", b'"
        );
        assert_eq!(sql("search_path=\"\""), "SET search_path TO ''");
        assert_eq!(sql("search_path="), "SET search_path TO ''");
        assert_eq!(sql("DateStyle=ISO, DMY"), "SET \"DateStyle\" TO 'ISO, DMY'");
        assert_eq!(sql("my.app=a=b"), "SET \"my.app\" TO 'a=b'");
        assert_eq!(set("nonsense"), None);
    }
}
