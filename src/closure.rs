//! Which rows belong together by foreign keys: an entity, such as one customer, with all that refers to it, transitively,
//! and with the rows that those need.
//!
//! Two steps, the same for rows of an archive and for those of a database. *Down*: a row belongs to the entity if it
//! refers to one that does, through any foreign key, also a composite one, of the table to itself, or in a circle of tables.
//! *Up*: the rows that those refer to come along, transitively, for without them a foreign key would break; of these only
//! their own parents, not their other children, who are somebody else's. Either step ends, for rows are only added.
//!
//! Tables are trees: a partitioned table with all its partitions is one. A foreign key that only one partition has counts
//! for the whole tree, which can only add rows. A NULL in a foreign key refers to nothing, whatever its MATCH (manual,
//! 5.5.5; of MATCH FULL the server takes no other row with a NULL). Keys with PERIOD (since 18) compare spans of time: they
//! are not followed, and the [`Tree`] says so.

pub mod archive;
mod definition;
mod graph;
pub mod live;
mod scope;
mod tree;

pub use scope::{Root, RootError, Scope};
pub use tree::{Branch, Needed, Tree};
