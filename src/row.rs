//! The row form: one JSON array a line, a cell a column. Shared by the archive (which proves it) and by
//! `postgres::copy` (which translates it).

use serde::{Deserialize, Serialize};

/// How a column's values stand in a row line. `docs/format.md`, section "Cells", gives the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellForm {
    /// A JSON string that holds Postgres's own text output.
    #[default]
    Text,
    /// A bare JSON number where JSON readers keep its value exactly, else a string.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A `jsonb` value, embedded as JSON.
    Json,
}

impl CellForm {
    /// Whether this is the form that the header leaves out.
    pub fn is_text(&self) -> bool {
        *self == CellForm::Text
    }
}
