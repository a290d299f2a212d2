//! Which of two versions of a row is to be had, where the archive and the target both have it and they differ.
//!
//! In mode `newer` columns decide, one after the other: the greater value is the newer one, be it a time, a version or a
//! logical clock, and a row without a value is the older. Where they say nothing a rank of statuses does. Where that says
//! nothing either, the target keeps what it has.

use std::collections::HashMap;

use super::Mode;
use crate::failure::Failure;
use crate::postgres::quote;
use crate::selection::mapping::Name;
use crate::selection::{Pattern, PatternError};

/// What decides in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// How its rows meet, where that is not as in other tables.
    pub mode: Option<Mode>,
    /// Columns by which a version is newer.
    pub newer_by: Vec<String>,
    /// What decides where those do not.
    pub status: Option<StatusRank>,
}

/// Statuses of a column, the lowest rank first. Those of one rank are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusRank {
    /// The column.
    pub column: String,
    /// Its values, as text.
    pub ranks: Vec<Vec<String>>,
}

/// What decides in each table.
#[derive(Clone, Debug, Default)]
pub struct Preferences {
    /// Where no other does.
    pub default: Preference,
    /// By tables' names.
    pub tables: Vec<(Pattern, Preference)>,
}

impl Preferences {
    /// Adds what holds for the tables that a pattern means.
    pub fn add(&mut self, pattern: &str, preference: Preference) -> Result<(), PatternError> {
        self.tables.push((Pattern::parse(pattern)?, preference));
        Ok(())
    }

    /// What decides in a table: of the patterns that mean it the most exact counts, which is the one with the most
    /// characters that stand for themselves. What it leaves open is as everywhere.
    pub fn of(&self, schema: &str, name: &str) -> Preference {
        let meant = self.tables.iter().filter(|(pattern, _)| pattern.matches(schema, name));
        let own = meant.max_by_key(|(pattern, _)| (pattern.is_name(), pattern.exactness()));
        let Some((_, own)) = own else { return self.default.clone() };
        let newer_by = if own.newer_by.is_empty() { &self.default.newer_by } else { &own.newer_by };
        Preference {
            mode: own.mode,
            newer_by: newer_by.clone(),
            status: own.status.clone().or_else(|| self.default.status.clone()),
        }
    }

    /// The same for tables under other names: pairs of an old and a new one.
    pub fn renamed(&self, names: &[(Name, Name)]) -> Preferences {
        let is_meant = |old: &Name| self.tables.iter().any(|(pattern, _)| pattern.matches(&old.0, &old.1));
        let of = |(old, new): &(Name, Name)| (Pattern::exact(&new.0, &new.1), self.of(&old.0, &old.1));
        let own = names.iter().filter(|(old, _)| is_meant(old)).map(of);
        Preferences { default: self.default.clone(), tables: own.collect() }
    }

    /// Whether some tables have a mode of their own that is this one.
    pub fn has_mode(&self, mode: Mode) -> bool {
        self.tables.iter().any(|(_, preference)| preference.mode == Some(mode))
    }

    /// Refuses mode `newer` where nothing says what is newer, and the names of tables that mean none of `names`.
    pub fn check<'a>(
        &self,
        mode: Mode,
        names: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<(), Failure> {
        let says = |p: &Preference| !p.newer_by.is_empty() || p.status.is_some();
        let any = says(&self.default) || self.tables.iter().any(|(_, p)| says(p));
        if !any && (mode == Mode::Newer || self.has_mode(Mode::Newer)) {
            return Err(Failure::usage("mode newer needs to know by what a row is newer")
                .state("the target is untouched")
                .next("add --newer-by COLUMN, such as updated_at or version, or newer_by for tables in [merge.TABLE] of pgkeep.toml"));
        }
        let unknown = self.tables.iter().map(|(pattern, _)| pattern);
        let unknown = unknown.filter(|p| !names.clone().any(|(schema, name)| p.matches(schema, name)));
        let unknown: Vec<String> = unknown.map(|p| format!("{:?}", p.as_str())).collect();
        if !unknown.is_empty() {
            return Err(Failure::usage(format!(
                "[merge.…] of the configuration names {}, which no table of the archive is called",
                unknown.join(", ")
            ))
            .state("the target is untouched")
            .next("correct pgkeep.toml; pgkeep show FILE lists the tables"));
        }
        Ok(())
    }
}

/// What decides in one table, by the columns that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// The greater value of this column, and its `::type` where it is of a domain.
    Newer(String, String),
    Status(StatusRank),
}

/// What decides in mode `missing`.
pub const ONLY_MISSING: &str = "only missing rows";
/// The name of what is said where no rule has decided.
const UNDECIDED: &str = "undecided";

impl Rules {
    /// Those rules of a preference for which the table has the column. `columns` are names, with their casts.
    pub fn new<'a>(
        preference: &Preference,
        columns: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Rules {
        let casts: HashMap<&str, &str> = columns.collect();
        let newer = preference.newer_by.iter().filter_map(|column| {
            casts.get(column.as_str()).map(|cast| Rule::Newer(column.clone(), (*cast).to_owned()))
        });
        let status = preference.status.iter().filter(|s| casts.contains_key(s.column.as_str()));
        Rules { rules: newer.chain(status.cloned().map(Rule::Status)).collect() }
    }

    /// Whether there is none, so that nothing is ever newer.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// An SQL expression over the archived row `s` and the live row `t`, an `int2`: n where the n-th rule, counted from 1,
    /// is for the archived one, -n where it is for the live one, 0 where none decides.
    pub fn decision(&self) -> String {
        let mut cases = String::new();
        for (n, rule) in (1..).zip(&self.rules) {
            let compared = rule.compared();
            cases += &format!(
                " WHEN {compared} OPERATOR(pg_catalog.>) 0 THEN {n} WHEN {compared} OPERATOR(pg_catalog.<) 0 THEN -{n}"
            );
        }
        if cases.is_empty() {
            "0::pg_catalog.int2".to_owned()
        } else {
            format!("(CASE{cases} ELSE 0 END)::pg_catalog.int2")
        }
    }

    /// What a decision is called.
    pub fn name(&self, decision: i16) -> String {
        let place = usize::from(decision.unsigned_abs()).checked_sub(1);
        match place.and_then(|place| self.rules.get(place)) {
            None => UNDECIDED.to_owned(),
            Some(Rule::Newer(column, _)) => format!("newer by {column}"),
            Some(Rule::Status(status)) => format!("rank of {}", status.column),
        }
    }

    /// The columns that decide.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| match rule {
            Rule::Newer(column, _) => column.as_str(),
            Rule::Status(status) => status.column.as_str(),
        })
    }
}

impl Rule {
    /// A number: above 0 where the archived row is to be had, below where the live one is.
    fn compared(&self) -> String {
        match self {
            Rule::Newer(column, cast) => {
                let [s, t] = ["s", "t"].map(|alias| format!("{alias}.{}{cast}", quote::ident(column)));
                // Whatever the type, by the order that indexes of it have.
                format!(
                    "(CASE WHEN {s} IS NULL AND {t} IS NULL THEN 0 WHEN {s} IS NULL THEN -1 WHEN {t} IS NULL THEN 1
                      ELSE pg_catalog.btrecordcmp(ROW({s}), ROW({t})) END)"
                )
            }
            Rule::Status(status) => {
                let values = status.ranks.iter().flatten().map(|value| quote::literal(value));
                let values = values.collect::<Vec<_>>().join(", ");
                let ranks = (0..).zip(&status.ranks).flat_map(|(n, same)| same.iter().map(move |_| n));
                let ranks = ranks.map(|n: i32| n.to_string()).collect::<Vec<_>>().join(", ");
                let column = quote::ident(&status.column);
                let [s, t] = ["s", "t"].map(|alias| {
                    format!(
                        "(ARRAY[{ranks}]::pg_catalog.int4[])[pg_catalog.array_position(
                           ARRAY[{values}]::pg_catalog.text[], {alias}.{column}::pg_catalog.text COLLATE pg_catalog.\"C\")]"
                    )
                });
                // A status without a rank decides nothing.
                format!("COALESCE({s} OPERATOR(pg_catalog.-) {t}, 0)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn newer(column: &str) -> Preference {
        Preference { newer_by: vec![column.to_owned()], ..Preference::default() }
    }

    #[test]
    fn the_most_exact_name_counts_and_what_it_leaves_open_is_as_everywhere() {
        let status = StatusRank { column: "status".into(), ranks: vec![vec!["a".into()]] };
        let mut all = Preferences {
            default: Preference { status: Some(status.clone()), ..newer("updated_at") },
            ..Preferences::default()
        };
        all.add("*.*", newer("changed")).unwrap();
        all.add("audit_*", newer("at")).unwrap();
        all.add("audit_log", Preference { mode: Some(Mode::Missing), ..Preference::default() }).unwrap();
        let of = |schema: &str, name: &str| all.of(schema, name);
        assert_eq!(of("x", "y"), Preference { status: Some(status.clone()), ..newer("changed") });
        assert_eq!(of("public", "audit_x").newer_by, ["at"]);
        let log = of("public", "audit_log");
        assert_eq!((log.mode, log.newer_by), (Some(Mode::Missing), vec!["updated_at".to_owned()]));
        assert!(all.check(Mode::Newer, [("public", "audit_log")].into_iter()).is_ok());
        assert!(
            all.check(Mode::Newer, [("public", "users")].into_iter()).unwrap_err().what.contains("audit_log")
        );
        assert!(Preferences::default().check(Mode::Newer, std::iter::empty()).is_err());
    }

    #[test]
    fn rules_are_of_columns_that_the_table_has() {
        let preference = Preference {
            newer_by: vec!["version".into(), "updated_at".into()],
            status: Some(StatusRank { column: "status".into(), ranks: vec![vec!["a".into(), "b".into()]] }),
            mode: None,
        };
        let rules = Rules::new(&preference, [("id", ""), ("updated_at", ""), ("status", "")].into_iter());
        let names: Vec<String> = [1, -1, 2, 0, 9].map(|n| rules.name(n)).into();
        assert_eq!(
            names,
            ["newer by updated_at", "newer by updated_at", "rank of status", UNDECIDED, UNDECIDED]
        );
        assert!(Rules::new(&preference, [("id", "")].into_iter()).is_empty());
    }
}
