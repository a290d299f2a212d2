//! Tables of an archive that go under other names: `old=new`, `old_schema.*=new_schema.*`, or all into one schema; and what
//! else is said of them by patterns, under the names that they get.

use super::{Atom, ByTable, Pattern, PatternError, RowChoice};

/// Schema and name.
pub type Name = (String, String);

/// Where tables go.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    pairs: Vec<Pair>,
    into: Option<String>,
}

/// One table, or all of a schema, and where that goes.
#[derive(Clone, Debug)]
struct Pair {
    old: Pattern,
    schema: String,
    /// None: the name that it has.
    name: Option<String>,
}

impl Mapping {
    /// Parses texts such as `public.users=old.users`, and the schema for all other tables.
    pub fn parse(maps: &[String], into: Option<&str>) -> Result<Mapping, PatternError> {
        let mut pairs: Vec<Pair> = Vec::with_capacity(maps.len());
        for text in maps {
            let pair = Pair::parse(text)?;
            let is_twice = |p: &Pair| p.old.schema == pair.old.schema && p.old.name == pair.old.name;
            if pairs.iter().any(is_twice) {
                let problem = "it says a second time where a table goes";
                return Err(PatternError { pattern: text.clone(), problem });
            }
            pairs.push(pair);
        }
        let into = into.map(|text| {
            let problem = "it is not the name of one schema; put a name that holds a dot in double quotes";
            let pattern = Pattern::parse(text)?;
            let name = plain(&pattern.name).filter(|_| pattern.bare);
            name.ok_or_else(|| PatternError { pattern: text.to_owned(), problem })
        });
        Ok(Mapping { pairs, into: into.transpose()? })
    }

    /// Whether nothing goes elsewhere.
    pub fn is_none(&self) -> bool {
        self.pairs.is_empty() && self.into.is_none()
    }

    /// Whether it says of all tables where they go.
    pub fn is_of_all(&self) -> bool {
        self.into.is_some()
    }

    /// Where a table goes. What names it counts before what means all of its schema, and that before what means all.
    pub fn of(&self, schema: &str, name: &str) -> Option<Name> {
        let meant = self.pairs.iter().filter(|pair| pair.old.matches(schema, name));
        let own = meant.max_by_key(|pair| pair.old.is_name());
        let pair =
            own.map(|pair| (pair.schema.clone(), pair.name.clone().unwrap_or_else(|| name.to_owned())));
        pair.or_else(|| Some((self.into.clone()?, name.to_owned())))
    }

    /// What was said of tables, as it was written, that means none of these.
    pub fn unmatched<'a>(&self, names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<String> {
        let means_one = |pair: &&Pair| names.clone().any(|(schema, name)| pair.old.matches(schema, name));
        self.pairs.iter().filter(|pair| !means_one(pair)).map(|pair| pair.old.text.clone()).collect()
    }
}

impl Pair {
    fn parse(text: &str) -> Result<Pair, PatternError> {
        let fail = |problem| PatternError { pattern: text.to_owned(), problem };
        let mut quoted = false;
        let equals = text.find(|c| {
            quoted ^= c == '"';
            c == '=' && !quoted
        });
        let (old, new) =
            text.split_at(equals.ok_or_else(|| fail("write OLD=NEW, such as users=archive.users"))?);
        let (old, new) = (Pattern::parse(old)?, Pattern::parse(&new[1..])?);
        let all = [Atom::AnyText];
        let name = plain(&new.name).filter(|_| old.is_name());
        let is_schema = old.name == all && new.name == all;
        match (plain(&old.schema), plain(&new.schema)) {
            (Some(_), Some(schema)) if is_schema || name.is_some() => Ok(Pair { old, schema, name }),
            _ => Err(fail("name one table on either side, or all of a schema on both: old.*=new.*")),
        }
    }
}

/// The text of a name without wildcards.
fn plain(atoms: &[Atom]) -> Option<String> {
    let char = |atom: &Atom| if let Atom::Char(c) = atom { Some(*c) } else { None };
    atoms.iter().map(char).collect()
}

impl ByTable {
    /// What is said of tables, by the names that they get: pairs of an old and a new one.
    pub fn renamed(&self, names: &[(Name, Name)]) -> ByTable {
        let of = |(old, new): &(Name, Name)| {
            let said: Vec<String> = self.of(&old.0, &old.1).map(str::to_owned).collect();
            said.into_iter().map(|text| (Pattern::exact(&new.0, &new.1), text)).collect::<Vec<_>>()
        };
        ByTable { said: names.iter().flat_map(of).collect() }
    }
}

impl RowChoice {
    /// The same rows and columns of tables under other names: pairs of an old and a new one.
    pub fn renamed(&self, names: &[(Name, Name)]) -> RowChoice {
        RowChoice { conditions: self.conditions.renamed(names), columns: self.columns.renamed(names) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mapping(maps: &[&str], into: Option<&str>) -> Mapping {
        Mapping::parse(&maps.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>(), into).unwrap()
    }

    fn goes(mapping: &Mapping, schema: &str, name: &str) -> String {
        mapping.of(schema, name).map_or_else(String::new, |(schema, name)| format!("{schema}/{name}"))
    }

    #[test]
    fn a_table_goes_where_what_names_it_best_says() {
        let all = mapping(
            &["shop.*=old.*", "shop.users=people", "\"a=b\".\"c.d\"=\"x.y\".\"z\"\"\""],
            Some("copy"),
        );
        assert_eq!(goes(&all, "shop", "users"), "public/people");
        assert_eq!(goes(&all, "shop", "items"), "old/items");
        assert_eq!(goes(&all, "a=b", "c.d"), "x.y/z\"");
        assert_eq!(goes(&all, "public", "users"), "copy/users");
        let some = mapping(&["users=u"], None);
        assert_eq!(
            (goes(&some, "public", "users"), goes(&some, "shop", "users")),
            ("public/u".into(), String::new())
        );
        assert_eq!(some.unmatched([("shop", "users")].into_iter()), ["users"]);
        assert!(mapping(&[], None).is_none() && !some.is_none() && !some.is_of_all() && all.is_of_all());
    }

    #[test]
    fn what_says_nothing_certain_is_refused() {
        for bad in [
            "users", "=u", "users=", "u*=v", "u=v*", "s.*=v", "u=s.*", "*.*=s.*", "s.*=*.*", "a.b.c=d",
            "\"u=v",
        ] {
            assert!(Mapping::parse(&[bad.to_owned()], None).is_err(), "{bad}");
        }
        assert!(Mapping::parse(&["u=a".to_owned(), "public.u=b".to_owned()], None).is_err());
        for bad in ["", "a.b", "a*", "\"a"] {
            assert!(Mapping::parse(&[], Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(goes(&mapping(&[], Some("\"a.b\"")), "x", "y"), "a.b/y");
    }

    #[test]
    fn what_is_said_of_a_table_goes_with_it() {
        let said = ByTable::parse(&["u*: a".to_owned(), "users: b".to_owned()]).unwrap();
        let name = |schema: &str, name: &str| (schema.to_owned(), name.to_owned());
        let new = said.renamed(&[(name("public", "users"), name("old", "u*"))]);
        assert_eq!(new.of("old", "u*").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(new.of("public", "users").count() + new.of("old", "ux").count(), 0);
    }
}
