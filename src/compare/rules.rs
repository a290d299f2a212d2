//! Which of two archived versions of a row is the newer one: what `restore::preference` says in SQL, without a server.

use std::cmp::Ordering;

use crate::archive::model::Column;
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
    Status(usize, CellForm, Values, Vec<(Vec<u8>, usize)>),
}

/// A decision that is none, because only the server knows how values of a type are ordered.
const UNKNOWN: i16 = i16::MIN;

impl Deciding {
    /// None where the mode asks for no decision. `columns` are those that are compared.
    pub fn new(mode: Mode, preference: &Preference, columns: &[&Column]) -> Option<Deciding> {
        if preference.mode.unwrap_or(mode) != Mode::Newer {
            return None;
        }
        let names = Rules::new(preference, columns.iter().map(|c| (c.name.as_str(), "")));
        let find = |name: &str| columns.iter().position(|c| c.name == name);
        let newer = preference.newer_by.iter().filter_map(|name| {
            let place = find(name)?;
            let column = columns[place];
            Some(Rule::Newer(place, column.form, Values::of_type(&column.type_name)))
        });
        let status = preference.status.iter().filter_map(|status| {
            let place = find(&status.column)?;
            let ranks = status.ranks.iter().enumerate();
            let ranks = ranks.flat_map(|(n, same)| same.iter().map(move |s| (s.clone().into_bytes(), n)));
            let values = Values::of_type(&columns[place].type_name);
            Some(Rule::Status(place, columns[place].form, values, ranks.collect()))
        });
        Some(Deciding { rules: newer.chain(status).collect(), names })
    }

    /// n where the n-th rule, counted from 1, is for `new`, -n where it is for `old`, 0 or less than all of these where none
    /// decides.
    pub fn decide(&self, new: &[&[u8]], old: &[&[u8]]) -> i16 {
        for (n, rule) in (1..).zip(&self.rules) {
            match rule.compare(new, old) {
                Some(Ordering::Greater) => return n,
                Some(Ordering::Less) => return -n,
                Some(Ordering::Equal) => {}
                None => return UNKNOWN,
            }
        }
        0
    }

    /// What a decision is called.
    pub fn name(&self, decision: i16) -> String {
        if decision == UNKNOWN {
            return "only a server can tell".to_owned();
        }
        self.names.name(decision)
    }
}

impl Rule {
    /// None where only a server can tell.
    fn compare(&self, new: &[&[u8]], old: &[&[u8]]) -> Option<Ordering> {
        let (Rule::Newer(place, form, _) | Rule::Status(place, form, _, _)) = self;
        let of =
            |row: &[&[u8]]| row.get(*place).and_then(|cell| text_of(*form, cell).map(|t| t.into_owned()));
        match (self, of(new), of(old)) {
            // A row without a value is the older one.
            (Rule::Newer(..), None, None) => Some(Ordering::Equal),
            (Rule::Newer(..), None, Some(_)) => Some(Ordering::Less),
            (Rule::Newer(..), Some(_), None) => Some(Ordering::Greater),
            (Rule::Newer(_, _, values), Some(new), Some(old)) => values.compare(&new, &old),
            (Rule::Status(_, _, values, ranks), new, old) => {
                let rank = |status: Option<Vec<u8>>| {
                    let mut status = status?;
                    if *values == Values::Padded {
                        status = values.canonical(&status).into_owned();
                    }
                    ranks.iter().find(|(known, _)| *known == status).map(|(_, rank)| *rank)
                };
                // A status without a rank decides nothing.
                Some(rank(new).zip(rank(old)).map_or(Ordering::Equal, |(new, old)| new.cmp(&old)))
            }
        }
    }
}
