//! What the queries make of a catalog before it is put in order.

use tokio_postgres::{Client, Error, Row};

use super::present::{Absent, Group};
use crate::schema::{Kind, Object, Section};

/// Fixed `oid`s of system catalogs (`pg_class.dat` and the like; they never change), by which `pg_depend` names them.
pub mod class {
    #![allow(missing_docs)]
    pub const ACCESS_METHOD: u32 = 2601;
    pub const AMOP: u32 = 2602;
    pub const AMPROC: u32 = 2603;
    pub const ATTRDEF: u32 = 2604;
    pub const CAST: u32 = 2605;
    pub const CLASS: u32 = 1259;
    pub const COLLATION: u32 = 3456;
    pub const CONSTRAINT: u32 = 2606;
    pub const CONVERSION: u32 = 2607;
    pub const DATABASE: u32 = 1262;
    pub const DEFAULT_ACL: u32 = 826;
    pub const EVENT_TRIGGER: u32 = 3466;
    pub const EXTENSION: u32 = 3079;
    pub const FOREIGN_DATA_WRAPPER: u32 = 2328;
    pub const FOREIGN_SERVER: u32 = 1417;
    pub const LANGUAGE: u32 = 2612;
    /// Large objects themselves: comments and dependencies name this catalog, not `pg_largeobject_metadata`.
    pub const LARGE_OBJECT: u32 = 2613;
    pub const NAMESPACE: u32 = 2615;
    pub const OPCLASS: u32 = 2616;
    pub const OPERATOR: u32 = 2617;
    pub const OPFAMILY: u32 = 2753;
    pub const POLICY: u32 = 3256;
    pub const PROC: u32 = 1255;
    pub const PUBLICATION: u32 = 6104;
    pub const PUBLICATION_NAMESPACE: u32 = 6237;
    pub const PUBLICATION_REL: u32 = 6106;
    pub const REWRITE: u32 = 2618;
    pub const STATISTIC_EXT: u32 = 3381;
    pub const SUBSCRIPTION: u32 = 6100;
    pub const TRANSFORM: u32 = 3576;
    pub const TRIGGER: u32 = 2620;
    pub const TS_CONFIG: u32 = 3602;
    pub const TS_DICT: u32 = 3600;
    pub const TS_PARSER: u32 = 3601;
    pub const TS_TEMPLATE: u32 = 3764;
    pub const TYPE: u32 = 1247;
    pub const USER_MAPPING: u32 = 1418;

    /// Not catalogs: objects of ours that the server has no row for, numbered by the row that they come from.
    pub const SEQUENCE_OWNER: u32 = 1;
    pub const ATTACHMENT: u32 = 2;
    pub const INDEX_MARK: u32 = 3;
    pub const ROW_SECURITY: u32 = 4;
    pub const REFRESH: u32 = 5;
    pub const SHELL: u32 = 6;
    pub const PRIVILEGES: u32 = 7;
    /// And the two behind it: what extensions keep, each kind by itself.
    pub const KEPT: u32 = 8;
}

/// What `pg_depend` calls an object: the catalog that it is in (one of [`class`]) and its `oid` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The catalog's `oid`.
    pub class: u32,
    /// The row's `oid`.
    pub oid: u32,
}

/// The address of row `oid` in catalog `class`.
pub fn at(class: u32, oid: u32) -> Address {
    Address { class, oid }
}

/// Something that comes to be with an object and that `pg_depend` or `COMMENT ON` may name: a constraint inside of a
/// table's definition, the row type of a table, the array type of a type.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where the catalog has it.
    pub at: Address,
    /// What `COMMENT ON` calls it; none for what has no comments.
    pub identity: Option<String>,
}

/// A clause that stands inside of an object's definition unless that would be a circle: then it is an object of its own.
#[derive(Clone, Debug)]
pub struct Clause {
    /// Where the catalog has it.
    pub at: Address,
    /// Which of the definition's places it takes, see [`Body::WithClauses`].
    pub place: usize,
    /// The text in that place.
    pub text: String,
    /// The object that it is when it stands alone.
    pub alone: Object,
    /// Whether it must stand inside: then a circle through it cannot be broken here.
    pub always_inside: bool,
}

/// How an object's definition is made up.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// As it stands in the object.
    #[default]
    Whole,
    /// `object.create[0]` is empty and becomes the concatenation of `pieces`, where each [`Clause`]'s text goes to its
    /// place: `Piece::Place(n)` gives what clause n's `text` is when it stands inside, else nothing.
    WithClauses {
        /// The definition in pieces.
        pieces: Vec<Piece>,
        /// What goes into its places.
        clauses: Vec<Clause>,
    },
    /// Can be declared first and completed later, when a circle or something made after the rows demands it: a base
    /// type, a view.
    WithShell {
        /// Statements that declare it.
        declare: Vec<String>,
        /// Statements that complete it, which may differ from those that make it in one go.
        complete: Vec<String>,
    },
}

/// A piece of a definition.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// The text of the clause with this `place`, if it stands inside.
    Place(usize),
    /// A list in parentheses, `(\n    item,\n    item\n)`: an item is a list of pieces, those that come out empty are
    /// left out; with no item at all `(\n)`.
    List(Vec<Vec<Piece>>),
}

/// An object before it has its place.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where the catalog has it.
    pub at: Address,
    /// The object, without comments, privileges and `needs`, which are filled in from all catalogs at once.
    pub object: Object,
    /// How its definition is made up.
    pub body: Body,
    /// What comes to be with it.
    pub parts: Vec<Part>,
    /// What it needs beyond what `pg_depend` says.
    pub needs: Vec<Address>,
    /// What it stands behind, if that is there and does not need it, although it does without.
    pub behind: Vec<Address>,
}

impl Draft {
    /// A draft of an object whose definition stands in it.
    pub fn new(at: Address, object: Object) -> Draft {
        Draft { at, object, body: Body::Whole, parts: Vec::new(), needs: Vec::new(), behind: Vec::new() }
    }

    /// With something that comes to be with it and has no comment.
    pub fn part(mut self, at: Address) -> Draft {
        self.parts.push(Part { at, identity: None });
        self
    }
}

/// Asks the catalogs.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// A connection in a transaction with an empty search path.
    pub client: &'a Client,
    /// `server_version_num`.
    pub version: u32,
    /// What need not be looked for.
    pub absent: Absent,
}

impl Reader<'_> {
    /// The rows of a query without parameters. Queries of several readers go over one connection without waiting for
    /// each other's answers.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Row>, Error> {
        self.client.query_typed(sql, &[]).await
    }

    /// The same for a query that gives objects of a group, of which there may be nothing. A debug build, as tests are, asks
    /// all the same, and nothing has to be what comes.
    pub async fn rows_of(&self, group: Group, sql: &str) -> Result<Vec<Row>, Error> {
        if !self.absent.has(group) {
            return self.rows(sql).await;
        }
        if cfg!(debug_assertions) {
            let found = self.rows(sql).await?.len();
            debug_assert_eq!(found, 0, "{group:?}");
        }
        Ok(Vec::new())
    }

    /// Whether the server is of this major version or newer.
    pub fn since(&self, major: u32) -> bool {
        self.version >= major * 10000
    }

    /// `then` where the server is of this major version or newer, else `otherwise`: for columns that older ones lack.
    pub fn pick<'t>(&self, major: u32, then: &'t str, otherwise: &'t str) -> &'t str {
        if self.since(major) { then } else { otherwise }
    }
}

/// An object that is made after the rows.
pub fn post_data(mut object: Object) -> Object {
    object.section = Section::PostData;
    object
}

/// An object of a table, view or sequence.
pub fn of_table(kind: Kind, identity: String, name: &str, table: (&str, &str)) -> Object {
    let mut object = Object::new(kind, identity, Some(table.0), name);
    object.table = Some((table.0.to_owned(), table.1.to_owned()));
    object
}
