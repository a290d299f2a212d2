//! Sequences: on their own, of a `serial` column (that it belongs to the column is said apart, when both are there), and
//! of an identity column (made by making the column one).

use tokio_postgres::Error;

use super::draft::{Draft, Reader, at, class, of_table};
use super::present::Group;
use crate::schema::{Kind, Object};

const SEQUENCES: &str = "SELECT s.oid, n.nspname, s.relname,
        pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.relname),
        pg_catalog.pg_get_userbyid(s.relowner)::text, s.relpersistence = 'u', s.reltype,
        q.seqtypid, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, q.seqcycle,
        t.oid, tn.nspname, t.relname,
        pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.relname), t.relkind = 'f',
        t.relpersistence = 'u', pg_catalog.quote_ident(a.attname),
        d.deptype = 'i', a.attidentity = 'a', a.atttypid
    FROM pg_catalog.pg_class s
    JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
    LEFT JOIN pg_catalog.pg_depend d ON d.classid = 1259 AND d.objid = s.oid AND d.objsubid = 0
        AND d.refclassid = 1259 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE s.relkind = 'S' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// `oid`s of types that sequences count in.
const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;

/// The column that a sequence belongs to.
struct Column {
    table_oid: u32,
    schema: String,
    table: String,
    qualified_table: String,
    is_foreign: bool,
    unlogged: bool,
    quoted: String,
    is_identity: bool,
    always: bool,
    type_oid: u32,
}

/// Reads them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let mut drafts = Vec::new();
    for row in reader.rows_of(Group::Sequences, SEQUENCES).await? {
        let oid: u32 = row.get(0);
        let (schema, name, qualified): (String, String, String) = (row.get(1), row.get(2), row.get(3));
        let unlogged: bool = row.get(5);
        let column = row.get::<_, Option<u32>>(14).map(|table_oid| Column {
            table_oid,
            schema: row.get(15),
            table: row.get(16),
            qualified_table: row.get(17),
            is_foreign: row.get(18),
            unlogged: row.get(19),
            quoted: row.get(20),
            is_identity: row.get(21),
            always: row.get(22),
            type_oid: row.get(23),
        });
        let counting = Counting {
            type_oid: row.get(7),
            start: row.get(8),
            increment: row.get(9),
            minimum: row.get(10),
            maximum: row.get(11),
            cache: row.get(12),
            cycle: row.get(13),
        };

        let mut object =
            Object::new(Kind::Sequence, format!("SEQUENCE {qualified}"), Some(&schema), name.clone());
        object.owner = row.get(4);
        match column.as_ref().filter(|c| c.is_identity) {
            Some(column) => {
                // Before 15 none was unlogged, and there was no word for it.
                let persistence = match (unlogged, column.unlogged) {
                    (true, false) => "\n    UNLOGGED",
                    (false, true) if reader.since(15) => "\n    LOGGED",
                    _ => "",
                };
                identity(&mut object, column, &qualified, persistence, &counting);
            }
            None => {
                let persistence = if unlogged { "UNLOGGED " } else { "" };
                let type_name = match counting.type_name() {
                    Some(name) if counting.type_oid != INT8 => format!("\n    AS {name}"),
                    _ => String::new(),
                };
                let options = counting.options(false);
                object.create = vec![format!("CREATE {persistence}SEQUENCE {qualified}{type_name}{options}")];
                object.drop = vec![format!("DROP SEQUENCE {qualified}")];
            }
        }
        let mut draft = Draft::new(at(class::CLASS, oid), object);
        // Before 14 sequences had row types.
        if row.get::<_, u32>(6) != 0 {
            draft = draft.part(at(class::TYPE, row.get(6)));
        }
        if let Some(column) = &column {
            if column.is_identity {
                draft.needs.push(at(class::CLASS, column.table_oid));
            } else {
                drafts.push(ownership(oid, &name, &schema, &qualified, column));
            }
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

fn identity(object: &mut Object, column: &Column, qualified: &str, persistence: &str, counting: &Counting) {
    let Column { qualified_table, quoted, .. } = column;
    let word = if column.is_foreign { "FOREIGN TABLE" } else { "TABLE" };
    let change = format!("ALTER {word} {qualified_table} ALTER COLUMN {quoted}");
    let when = if column.always { "ALWAYS" } else { "BY DEFAULT" };
    let options = counting.options(false);
    object.table = Some((column.schema.clone(), column.table.clone()));
    // It counts in the column's type, unless it was made by LIKE or changed since.
    let (inside, changed) = match counting.type_name() {
        Some(name) if counting.type_oid != column.type_oid => {
            let options = counting.options(true);
            ("", Some(format!("ALTER SEQUENCE {qualified}\n    AS {name}{options}\n    RESTART")))
        }
        _ => (options.as_str(), None),
    };
    object.create = vec![format!(
        "{change} ADD GENERATED {when} AS IDENTITY (\n    SEQUENCE NAME {qualified}{persistence}{inside}\n)"
    )];
    object.create.extend(changed);
    object.drop = vec![format!("{change} DROP IDENTITY")];
}

fn ownership(oid: u32, name: &str, schema: &str, qualified: &str, column: &Column) -> Draft {
    let identity = format!("SEQUENCE OWNER {qualified}");
    let mut object = of_table(Kind::SequenceOwner, identity, name, (&column.schema, &column.table));
    object.schema = Some(schema.to_owned());
    object.create =
        vec![format!("ALTER SEQUENCE {qualified} OWNED BY {}.{}", column.qualified_table, column.quoted)];
    object.drop = vec![format!("ALTER SEQUENCE {qualified} OWNED BY NONE")];
    let mut draft = Draft::new(at(class::SEQUENCE_OWNER, oid), object);
    draft.needs = vec![at(class::CLASS, oid), at(class::CLASS, column.table_oid)];
    draft
}

/// How a sequence counts.
struct Counting {
    type_oid: u32,
    start: i64,
    increment: i64,
    minimum: i64,
    maximum: i64,
    cache: i64,
    cycle: bool,
}

impl Counting {
    /// What SQL calls the type.
    fn type_name(&self) -> Option<&'static str> {
        match self.type_oid {
            INT2 => Some("smallint"),
            INT4 => Some("integer"),
            INT8 => Some("bigint"),
            _ => None,
        }
    }

    /// As `CREATE SEQUENCE` takes it, each option on a line of its own. `ALTER SEQUENCE … AS` changes bounds by itself
    /// unless they are `spelt_out`.
    fn options(&self, spelt_out: bool) -> String {
        let (least, most) = match self.type_oid {
            INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        let (usual_minimum, usual_maximum) = if self.increment >= 0 { (1, most) } else { (least, -1) };
        let bound = |word: &str, value: i64, usual: i64| {
            if value == usual && !spelt_out { format!("NO {word}") } else { format!("{word} {value}") }
        };
        format!(
            "\n    START WITH {}\n    INCREMENT BY {}\n    {}\n    {}\n    CACHE {}{}",
            self.start,
            self.increment,
            bound("MINVALUE", self.minimum, usual_minimum),
            bound("MAXVALUE", self.maximum, usual_maximum),
            self.cache,
            if self.cycle { "\n    CYCLE" } else { "" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bounds_that_are_not_the_types_own_are_named() {
        let mut counting = Counting {
            type_oid: INT2,
            start: 5,
            increment: -1,
            minimum: -32768,
            maximum: 7,
            cache: 1,
            cycle: true,
        };
        let said = counting.options(false);
        assert!(
            said.contains("NO MINVALUE") && said.contains("MAXVALUE 7") && said.ends_with("CYCLE"),
            "{said}"
        );
        counting.type_oid = INT4;
        assert!(counting.options(false).contains("MINVALUE -32768"));
        counting.minimum = i64::from(i32::MIN);
        assert!(counting.options(false).contains("NO MINVALUE"));
        assert!(counting.options(true).contains("MINVALUE -2147483648"));
    }
}
