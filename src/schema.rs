//! The objects of a database's schema as data: what makes each, what removes it, and what it needs.
//!
//! `postgres` reads them from a catalog, `archive` keeps them, the engines compare and apply them. All SQL in here names
//! everything by its schema, so that it means the same under an empty search path, which it is to be run under.

pub mod compare;
pub mod copy;
pub mod named;
pub mod rename;
pub mod scope;
pub mod script;
mod tokens;

use serde::{Deserialize, Serialize};

/// All that an archive knows of a database beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// What `CREATE DATABASE` and `ALTER DATABASE` would say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// The objects, each behind all that it needs.
    #[serde(default)]
    pub objects: Vec<Object>,
    /// Roles of the cluster, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// What extensions bring: no objects of the schema, so that no archive has them, but they have names and identities.
    #[serde(skip)]
    pub brought: Vec<Brought>,
}

/// An object that belongs to an extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Brought {
    /// The object; what it needs is not known.
    pub object: Object,
    /// The extension's name.
    pub extension: String,
}

/// One object. Its SQL is lists of statements, each without a semicolon at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// What names it in SQL, such as `FUNCTION public.area(integer, integer)` or `POLICY own ON public.notes`: no two
    /// objects of a database share it. `DROP`, `COMMENT ON` and `ALTER … OWNER TO` take it where SQL has them.
    pub identity: String,
    /// The schema that it is in, unquoted; none for what is in no schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Its name, unquoted and without arguments.
    pub name: String,
    /// For what belongs to a table, view or sequence: schema and name of that, unquoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<(String, String)>,
    /// Whether it is made before or after the rows come in.
    pub section: Section,
    /// The role that owns it; none for what has no owner of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The roles that `create` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Makes it. Empty for what comes with something else and only has privileges of its own.
    pub create: Vec<String>,
    /// Removes it. Empty for what goes with something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Comments and security labels, its parts' too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<String>,
    /// GRANT and REVOKE, from what a new object of this owner has, its columns' too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub privileges: Vec<Grant>,
    /// Tablespace, where it is not the database's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Table access method that `create` expects as `default_table_access_method`; none: `heap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_method: Option<String>,
    /// Positions in the list of objects, all before its own, of those that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<u32>,
}

/// The labels of an enum, by what stands behind its name in `CREATE TYPE`; none where that is not certain.
pub fn enum_labels(body: &str) -> Option<Vec<String>> {
    let tokens = tokens::tokens(body).into_iter();
    tokens.filter(|token| token.kind == tokens::Kind::Literal).map(|token| token.value()).collect()
}

/// One GRANT or REVOKE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The statement.
    pub sql: String,
    /// The role that gave the privilege, where it is not the object's owner.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
    /// The roles that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// What the database itself is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its owner.
    pub owner: String,
    /// What follows `CREATE DATABASE name` to make one like it: encoding, locale and its provider.
    pub options: String,
    /// What follows `ALTER DATABASE name`, one statement each: connection limit, settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alter: Vec<String>,
    /// What follows `ALTER ROLE role IN DATABASE name`: role and settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub role_settings: Vec<(String, String)>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Security labels: provider and label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// GRANT and REVOKE with `{}` in the place of the database's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub privileges: Vec<Grant>,
    /// Tablespace, where it is not `pg_default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
}

/// A role of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Name, unquoted.
    pub name: String,
    /// Makes it, with its attributes, settings and comment.
    pub create: Vec<String>,
    /// Makes it a member of other roles; to be run when all roles are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memberships: Vec<String>,
}

/// When an object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Before the rows.
    PreData,
    /// After the rows: indexes, constraints, triggers and what needs them.
    PostData,
}

/// Declares the kinds with the words that archives, commands and people use for them, one and many.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $one:literal, $many:literal;)*) => {
        /// What an object is. The order is that in which objects that do not need each other are made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $one)] $variant,)*
            /// A kind of a later version.
            #[serde(other, rename = "other")]
            Other,
        }

        impl Kind {
            /// All kinds that this version knows.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The word for one.
            pub fn one(self) -> &'static str {
                match self { $(Kind::$variant => $one,)* Kind::Other => "other" }
            }

            /// The word for many.
            pub fn many(self) -> &'static str {
                match self { $(Kind::$variant => $many,)* Kind::Other => "others" }
            }
        }
    };
}

kinds! {
    /// A schema (namespace).
    Schema = "schema", "schemas";
    /// A procedural language.
    Language = "language", "languages";
    /// A collation.
    Collation = "collation", "collations";
    /// A character-set conversion.
    Conversion = "conversion", "conversions";
    /// An extension.
    Extension = "extension", "extensions";
    /// A type that is declared so that functions can name it.
    ShellType = "shell type", "shell types";
    /// A type: enum, composite, range or base.
    Type = "type", "types";
    /// A domain.
    Domain = "domain", "domains";
    /// A table or index access method.
    AccessMethod = "access method", "access methods";
    /// A function.
    Function = "function", "functions";
    /// A procedure.
    Procedure = "procedure", "procedures";
    /// An aggregate.
    Aggregate = "aggregate", "aggregates";
    /// An operator.
    Operator = "operator", "operators";
    /// An operator family.
    OperatorFamily = "operator family", "operator families";
    /// An operator class.
    OperatorClass = "operator class", "operator classes";
    /// A cast.
    Cast = "cast", "casts";
    /// A transform.
    Transform = "transform", "transforms";
    /// A text-search parser.
    TextSearchParser = "text search parser", "text search parsers";
    /// A text-search template.
    TextSearchTemplate = "text search template", "text search templates";
    /// A text-search dictionary.
    TextSearchDictionary = "text search dictionary", "text search dictionaries";
    /// A text-search configuration.
    TextSearchConfiguration = "text search configuration", "text search configurations";
    /// A foreign-data wrapper.
    ForeignDataWrapper = "foreign data wrapper", "foreign data wrappers";
    /// A foreign server.
    Server = "server", "servers";
    /// A user mapping.
    UserMapping = "user mapping", "user mappings";
    /// A sequence, that of an identity column too.
    Sequence = "sequence", "sequences";
    /// A table, partitioned or not.
    Table = "table", "tables";
    /// A foreign table.
    ForeignTable = "foreign table", "foreign tables";
    /// A partition's or an index's attachment to the one above it.
    Attachment = "attachment", "attachments";
    /// That a sequence belongs to a column.
    SequenceOwner = "sequence owner", "sequence owners";
    /// A column default that could not stand in its table's definition.
    Default = "default", "defaults";
    /// A view.
    View = "view", "views";
    /// A materialized view.
    MaterializedView = "materialized view", "materialized views";
    /// A message queue of pgmq's, with its tables.
    Queue = "queue", "queues";
    /// A large object, without its bytes.
    LargeObject = "large object", "large objects";
    /// What new objects of a role are granted.
    DefaultPrivileges = "default privileges", "default privileges";
    /// A constraint: check, not-null, unique, primary key, exclusion.
    Constraint = "constraint", "constraints";
    /// An index.
    Index = "index", "indexes";
    /// Which index a table is clustered on or identified by for replication.
    IndexMark = "index mark", "index marks";
    /// Extended statistics.
    Statistics = "statistics", "statistics";
    /// A rule.
    Rule = "rule", "rules";
    /// A trigger.
    Trigger = "trigger", "triggers";
    /// A foreign key.
    ForeignKey = "foreign key", "foreign keys";
    /// Whether row-level security is on for a table.
    RowSecurity = "row security", "row security";
    /// A row-level security policy.
    Policy = "policy", "policies";
    /// A publication.
    Publication = "publication", "publications";
    /// A table or schema in a publication.
    PublicationMember = "publication member", "publication members";
    /// A subscription.
    Subscription = "subscription", "subscriptions";
    /// Privileges on what comes with the server or an extension.
    Privileges = "privileges", "privileges";
    /// An event trigger.
    EventTrigger = "event trigger", "event triggers";
    /// A secret in the vault of Supabase's.
    Secret = "secret", "secrets";
    /// A job of pg_cron's.
    Job = "job", "jobs";
    /// The filling of a materialized view.
    Refresh = "refresh", "refreshes";
}

impl Kind {
    /// Whether it is made last of all, when privileges are in place: what it does should meet the finished database.
    pub fn is_last(self) -> bool {
        matches!(self, Kind::Refresh | Kind::EventTrigger | Kind::Job)
    }

    /// Whether it is a table, a view or a sequence, which patterns of tables can choose.
    pub fn is_relation(self) -> bool {
        matches!(
            self,
            Kind::Table | Kind::ForeignTable | Kind::View | Kind::MaterializedView | Kind::Sequence
        )
    }

    /// The kind of this name, one or many, with blanks or hyphens.
    pub fn parse(text: &str) -> Option<Kind> {
        let text = text.trim().to_lowercase().replace(['-', '_'], " ");
        Kind::ALL.iter().copied().find(|k| k.one() == text || k.many() == text)
    }
}

impl Object {
    /// Whether this is its schema and name.
    pub fn is_named(&self, schema: &str, name: &str) -> bool {
        self.schema.as_deref() == Some(schema) && self.name == name
    }

    /// An object with nothing but a name; what else there is to it is filled in by whoever knows it.
    pub fn new(
        kind: Kind,
        identity: impl Into<String>,
        schema: Option<&str>,
        name: impl Into<String>,
    ) -> Object {
        Object {
            kind,
            identity: identity.into(),
            schema: schema.map(str::to_owned),
            name: name.into(),
            table: None,
            section: Section::PreData,
            owner: None,
            roles: Vec::new(),
            create: Vec::new(),
            drop: Vec::new(),
            comments: Vec::new(),
            privileges: Vec::new(),
            tablespace: None,
            access_method: None,
            needs: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_words_and_one_of_a_later_version_is_read() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.one()), Some(*kind));
            assert_eq!(Kind::parse(&kind.many().replace(' ', "-")), Some(*kind));
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.one()));
        }
        assert_eq!(serde_json::from_str::<Kind>("\"dream\"").unwrap(), Kind::Other);
    }
}
