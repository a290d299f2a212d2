//! What differs between the rows of an archive and those of a database, or of another archive: counts and samples, as data.
//!
//! Words are those of a restore of the archive: a row that only the archive has is *inserted*, one that both have and that
//! is not the same is *updated*, one that only the other side has is *deleted*.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What differs in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDifference {
    /// Rows that only the archive has.
    pub inserted: u64,
    /// Rows that both have, of which the archived one is to be had.
    pub updated: u64,
    /// Rows that only the other side has, and that would go.
    pub deleted: u64,
    /// Rows that are the same.
    pub unchanged: u64,
    /// Rows that both have and that differ, and that stay as the other side has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: u64,
    /// Of the updated rows: how many differ in each column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, u64>,
    /// How many rows that both have were decided by each rule, and for which side.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: Conflicts,
    /// Some of the rows.
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    pub samples: Samples,
}

impl TableDifference {
    /// Whether nothing differs that would be written.
    pub fn is_none(&self) -> bool {
        self.inserted + self.updated + self.deleted == 0
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Rows that differ and were decided, by the rule that did it.
pub type Conflicts = BTreeMap<String, Resolved>;

/// For which side a rule has decided, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Rows of which the archived version is to be had.
    pub archive: u64,
    /// Rows that stay as they are.
    pub target: u64,
}

/// Some of the rows that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Rows that only the archive has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inserted: Vec<RowObject>,
    /// Rows that both have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updated: Vec<Update>,
    /// Rows that only the other side has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<RowObject>,
    /// Rows that both have, and that stay as the other side has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Update>,
}

impl Samples {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inserted.is_empty() && self.updated.is_empty() && self.deleted.is_empty() && self.kept.is_empty()
    }
}

/// A row that both sides have: the columns of its key, and those that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The columns of its key.
    pub key: RowObject,
    /// Columns that differ, as they are.
    pub old: RowObject,
    /// The same, as archived.
    pub new: RowObject,
}

/// A row, or some of its columns, as one JSON object on one line: digit for digit as the archive has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowObject(String);

impl Default for RowObject {
    fn default() -> RowObject {
        RowObject("{}".to_owned())
    }
}

impl RowObject {
    /// None where the text is not one JSON value.
    pub fn new(json: String) -> Option<RowObject> {
        RawValue::from_string(json).ok().map(|raw| RowObject(raw.get().to_owned()))
    }

    /// The JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for RowObject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.clone()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RowObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<RowObject, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| RowObject(raw.get().to_owned()))
    }
}
