//! What is known of a type for conditions, and how values of two types are compared.

use crate::archive::model::Header;
use crate::schema::{self, Object};

use super::Refusal;

/// What kind of values a type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    SmallInt,
    Integer,
    BigInt,
    Numeric,
    Real,
    Double,
    Boolean,
    /// `text` and `character varying`.
    Text,
    /// `character(n)`: blanks at the end do not count.
    Char,
    Date,
    Timestamp,
    /// `timestamp with time zone`.
    Zoned,
    TimeOfDay,
    Uuid,
    /// With its labels.
    Enum(Vec<String>),
    /// It is there or NULL; more is not known here.
    Opaque,
    /// Not even that: a composite value of NULLs IS NULL.
    Unknown,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// As decimal numbers, digit by digit.
    Number,
    /// As `double precision`.
    Float,
    Boolean,
    Bytes,
    /// As bytes without the blanks at the end.
    Unpadded,
    Moment,
    TimeOfDay,
}

/// What the archive says of types and texts.
pub struct Types<'a> {
    objects: &'a [Object],
    encoding: &'a str,
    /// Whether there are collations to which different texts may be equal.
    are_texts_fuzzy: bool,
}

/// One side of a comparison.
pub struct Side<'a> {
    pub kind: &'a Kind,
    pub is_column: bool,
    /// Whether `COLLATE "C"` stands behind it.
    pub is_bytewise: bool,
}

impl<'a> Types<'a> {
    pub fn of(header: &'a Header) -> Types<'a> {
        let objects = header.schema.as_ref().map_or(&[][..], |schema| &schema.objects);
        let is_fuzzy = |object: &Object| {
            object.kind == schema::Kind::Collation
                && object.create.iter().any(|sql| sql.contains("deterministic = false"))
        };
        Types { objects, encoding: &header.source.encoding, are_texts_fuzzy: objects.iter().any(is_fuzzy) }
    }

    /// The kind of a type, by the name that `format_type` gives it under an empty search path: what has no schema before it is
    /// the server's own.
    pub fn kind(&self, type_name: &str) -> Kind {
        /// Domains over domains; no server has as many.
        const DEEPEST: usize = 20;
        let mut name = type_name.to_owned();
        for _ in 0..DEEPEST {
            match self.defined(&name) {
                Ok(kind) => return kind,
                Err(base) => name = base,
            }
        }
        Kind::Unknown
    }

    /// The kind of a type, or the name of the type that a domain is over.
    fn defined(&self, name: &str) -> Result<Kind, String> {
        if name.ends_with("[]") {
            return Ok(Kind::Opaque);
        }
        if !name.contains('.') {
            return Ok(built_in(name));
        }
        let find = |kind: schema::Kind, prefix: &str| {
            let is_it = |o: &&Object| o.kind == kind && o.identity.strip_prefix(prefix) == Some(name);
            self.objects.iter().find(is_it).and_then(|object| object.create.first())
        };
        if let Some(sql) = find(schema::Kind::Domain, "DOMAIN ") {
            let base =
                sql.strip_prefix("CREATE DOMAIN ").and_then(|s| s.strip_prefix(name)?.strip_prefix(" AS "));
            let Some(base) = base else { return Ok(Kind::Unknown) };
            let ends = [" COLLATE ", " DEFAULT ", " NOT NULL", " CONSTRAINT ", "\n"];
            let end = ends.iter().filter_map(|end| base.find(end)).min().unwrap_or(base.len());
            return Err(base[..end].to_owned());
        }
        let body = find(schema::Kind::Type, "TYPE ")
            .and_then(|sql| sql.strip_prefix("CREATE TYPE ")?.strip_prefix(name));
        Ok(match body {
            Some(body) if body.starts_with(" AS ENUM (") => {
                schema::enum_labels(body).map_or(Kind::Opaque, Kind::Enum)
            }
            Some(body) if body.starts_with(" AS RANGE") => Kind::Opaque,
            _ => Kind::Unknown,
        })
    }

    /// How two values are compared, for equality alone or by order.
    pub fn sense(&self, one: &Side<'_>, other: &Side<'_>, by_order: bool) -> Result<Sense, Refusal> {
        let beyond = |what: String| Err(Refusal::Beyond(what));
        let (a, b) = (one.kind, other.kind);
        if (one.is_bytewise && !a.is_text()) || (other.is_bytewise && !b.is_text()) {
            return Err(Refusal::Wrong("COLLATE is for texts".to_owned()));
        }
        if a.is_number() && b.is_number() {
            let is_float = |kind: &Kind| matches!(kind, Kind::Real | Kind::Double);
            if !is_float(a) && !is_float(b) {
                return Ok(Sense::Number);
            }
            let is_wide = |side: &Side<'_>| side.is_column && *side.kind == Kind::Numeric;
            if is_wide(one) || is_wide(other) {
                return beyond("a numeric column is compared as a floating-point number".to_owned());
            }
            return Ok(Sense::Float);
        }
        if a.is_moment() && b.is_moment() {
            return Ok(Sense::Moment);
        }
        if a != b {
            return beyond(format!("{} is compared with {}", a.described(), b.described()));
        }
        match a {
            Kind::Boolean => Ok(Sense::Boolean),
            Kind::TimeOfDay => Ok(Sense::TimeOfDay),
            Kind::Uuid => Ok(Sense::Bytes),
            Kind::Enum(_) if !by_order => Ok(Sense::Bytes),
            Kind::Text | Kind::Char => {
                self.check_texts(one.is_bytewise || other.is_bytewise, by_order)?;
                Ok(if *a == Kind::Char { Sense::Unpadded } else { Sense::Bytes })
            }
            _ => beyond(format!("{} is compared{}", a.described(), if by_order { " by order" } else { "" })),
        }
    }

    /// Refuses to compare texts where a collation counts that is not known here.
    fn check_texts(&self, are_bytewise: bool, by_order: bool) -> Result<(), Refusal> {
        /// Encodings whose bytes have the order of those of UTF-8.
        const IN_ORDER: [&str; 3] = ["UTF8", "LATIN1", "SQL_ASCII"];
        if self.are_texts_fuzzy && !are_bytewise {
            return Err(Refusal::Beyond(
                "the database has collations to which different texts may be equal; write COLLATE \"C\" behind a text to compare bytes".to_owned(),
            ));
        }
        if by_order && !are_bytewise {
            return Err(Refusal::Beyond(
                "the order of texts is that of the database's collation; write COLLATE \"C\" behind a text to compare bytes".to_owned(),
            ));
        }
        if by_order && !IN_ORDER.contains(&self.encoding) {
            return Err(Refusal::Beyond(format!("texts are ordered in encoding {}", self.encoding)));
        }
        Ok(())
    }

    /// Refuses patterns whose meaning depends on what is not known here. `counts`: whether characters are counted.
    pub fn check_pattern(&self, is_bytewise: bool, folds: bool, counts: bool) -> Result<(), Refusal> {
        if folds && !is_bytewise {
            return Err(Refusal::Beyond(
                "which letters ILIKE takes for the same depends on the database's collation; write COLLATE \"C\" behind the text for those of ASCII".to_owned(),
            ));
        }
        if counts && self.encoding == "SQL_ASCII" {
            return Err(Refusal::Beyond(
                "_ in a pattern stands for a byte, in encoding SQL_ASCII".to_owned(),
            ));
        }
        self.check_texts(is_bytewise, false)
    }
}

impl Kind {
    fn is_number(&self) -> bool {
        matches!(
            self,
            Kind::SmallInt | Kind::Integer | Kind::BigInt | Kind::Numeric | Kind::Real | Kind::Double
        )
    }

    pub fn is_moment(&self) -> bool {
        matches!(self, Kind::Date | Kind::Timestamp | Kind::Zoned)
    }

    pub fn is_text(&self) -> bool {
        matches!(self, Kind::Text | Kind::Char)
    }

    /// For messages.
    pub fn described(&self) -> &'static str {
        match self {
            Kind::SmallInt => "a smallint",
            Kind::Integer => "an integer",
            Kind::BigInt => "a bigint",
            Kind::Numeric => "a numeric",
            Kind::Real => "a real",
            Kind::Double => "a double precision",
            Kind::Boolean => "a boolean",
            Kind::Text => "a text",
            Kind::Char => "a text filled up with blanks (character)",
            Kind::Date => "a date",
            Kind::Timestamp => "a timestamp without time zone",
            Kind::Zoned => "a timestamp with time zone",
            Kind::TimeOfDay => "a time",
            Kind::Uuid => "a uuid",
            Kind::Enum(_) => "an enum",
            Kind::Opaque | Kind::Unknown => "a type whose values only a server compares",
        }
    }
}

/// A type of the server's own.
fn built_in(name: &str) -> Kind {
    match name.split('(').next().unwrap_or_default() {
        "smallint" => Kind::SmallInt,
        "integer" => Kind::Integer,
        "bigint" => Kind::BigInt,
        "numeric" => Kind::Numeric,
        "real" => Kind::Real,
        "double precision" => Kind::Double,
        "boolean" => Kind::Boolean,
        "text" | "character varying" => Kind::Text,
        "character" | "bpchar" => Kind::Char,
        "date" => Kind::Date,
        "timestamp without time zone" => Kind::Timestamp,
        "timestamp with time zone" => Kind::Zoned,
        "timestamp" if name.ends_with(" without time zone") => Kind::Timestamp,
        "timestamp" if name.ends_with(" with time zone") => Kind::Zoned,
        "time without time zone" => Kind::TimeOfDay,
        "time" if name.ends_with(" without time zone") => Kind::TimeOfDay,
        "uuid" => Kind::Uuid,
        _ => Kind::Opaque,
    }
}

/// A type by the name that a cast in a condition gives it, in capitals: one that changes no value that is of it.
pub fn of_cast(name: &str) -> Option<Kind> {
    Some(match name {
        "SMALLINT" | "INT2" => Kind::SmallInt,
        "INTEGER" | "INT" | "INT4" => Kind::Integer,
        "BIGINT" | "INT8" => Kind::BigInt,
        "NUMERIC" | "DECIMAL" | "DEC" => Kind::Numeric,
        "REAL" | "FLOAT4" => Kind::Real,
        "DOUBLE PRECISION" | "FLOAT8" => Kind::Double,
        "BOOLEAN" | "BOOL" => Kind::Boolean,
        "TEXT" | "VARCHAR" | "CHARACTER VARYING" => Kind::Text,
        "DATE" => Kind::Date,
        "TIMESTAMP" | "TIMESTAMP WITHOUT TIME ZONE" => Kind::Timestamp,
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" => Kind::Zoned,
        "TIME" | "TIME WITHOUT TIME ZONE" => Kind::TimeOfDay,
        "UUID" => Kind::Uuid,
        _ => return None,
    })
}

/// What a user wrote, for messages: on one line, and not all of it where it is long.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let short: String = text.chars().take(MOST).collect();
    format!("{:?}", if short.len() < text.len() { short + "…" } else { short })
}
