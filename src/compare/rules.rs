//! Which of two archived versions of a row is the newer one: what `restore::preference` says in SQL, without a server.

use std::cmp::Ordering;

use crate::archive::model::Table;
use crate::restore::Mode;
use crate::restore::preference::{Preference, Rules};
use crate::row::order::Values;
use crate::row::{CellForm, text_of};

/// The rules of a table, with the places of their columns in a row.
pub struct Deciding {
    names: Rules,
    rules: Vec<Rule>,
}

enum Rule {
    Newer(usize, CellForm, Values),
    /// The place, and the rank of each status.
    Status(usize, CellForm, Vec<(Vec<u8>, usize)>),
}

impl Deciding {
    /// None where the mode asks for no decision.
    pub fn new(mode: Mode, preference: &Preference, table: &Table) -> Option<Deciding> {
        if preference.mode.unwrap_or(mode) != Mode::Newer {
            return None;
        }
        let names = Rules::new(preference, table.columns.iter().map(|c| (c.name.as_str(), "")));
        let find = |name: &str| table.columns.iter().position(|c| c.name == name);
        let newer = preference.newer_by.iter().filter_map(|name| {
            let place = find(name)?;
            let column = &table.columns[place];
            Some(Rule::Newer(place, column.form, Values::of_type(&column.type_name)))
        });
        let status = preference.status.iter().filter_map(|status| {
            let place = find(&status.column)?;
            let ranks = status.ranks.iter().enumerate();
            let ranks = ranks.flat_map(|(n, same)| same.iter().map(move |s| (s.clone().into_bytes(), n)));
            Some(Rule::Status(place, table.columns[place].form, ranks.collect()))
        });
        Some(Deciding { rules: newer.chain(status).collect(), names })
    }

    /// n where the n-th rule, counted from 1, is for `new`, -n where it is for `old`, 0 where none decides.
    pub fn decide(&self, new: &[&[u8]], old: &[&[u8]]) -> i16 {
        for (n, rule) in (1..).zip(&self.rules) {
            match rule.compare(new, old) {
                Ordering::Greater => return n,
                Ordering::Less => return -n,
                Ordering::Equal => {}
            }
        }
        0
    }

    /// What a decision is called.
    pub fn name(&self, decision: i16) -> String {
        self.names.name(decision)
    }
}

impl Rule {
    fn compare(&self, new: &[&[u8]], old: &[&[u8]]) -> Ordering {
        let (Rule::Newer(place, form, _) | Rule::Status(place, form, _)) = self;
        let of =
            |row: &[&[u8]]| row.get(*place).and_then(|cell| text_of(*form, cell).map(|t| t.into_owned()));
        match (self, of(new), of(old)) {
            // A row without a value is the older one.
            (Rule::Newer(..), None, None) => Ordering::Equal,
            (Rule::Newer(..), None, Some(_)) => Ordering::Less,
            (Rule::Newer(..), Some(_), None) => Ordering::Greater,
            (Rule::Newer(_, _, values), Some(new), Some(old)) => {
                values.compare(&new, &old).unwrap_or(Ordering::Equal)
            }
            (Rule::Status(_, _, ranks), new, old) => {
                let rank = |status: Option<Vec<u8>>| {
                    let status = status?;
                    ranks.iter().find(|(known, _)| *known == status).map(|(_, rank)| *rank)
                };
                match (rank(new), rank(old)) {
                    (Some(new), Some(old)) => new.cmp(&old),
                    // A status without a rank decides nothing.
                    _ => Ordering::Equal,
                }
            }
        }
    }
}
