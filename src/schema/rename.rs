//! Tables, sequences and indexes under other names: what that makes of the statements that `postgres::ddl` writes.
//!
//! Those name every relation by its schema, and in few places: behind words such as `TABLE`, `ON` and `REFERENCES`, as the
//! type of a column, behind `::`, and in literals of type `regclass`, which are names of sequences. There, and nowhere else,
//! names are changed. What an expression says otherwise, such as a function that it calls, is kept as it is.

use std::collections::HashMap;

use super::script::ident;
use super::tokens::{Kind, Token, tokens};
use crate::selection::mapping::Name;

/// What relations are called, and what they are to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables, partitions too.
    pub tables: HashMap<Name, Name>,
    /// Sequences.
    pub sequences: HashMap<Name, Name>,
    /// Indexes, those of constraints too.
    pub indexes: HashMap<Name, Name>,
}

/// The object that statements are about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own<'a> {
    /// The table that it is or belongs to, as it was called: an expression may name its row, `orders.*`.
    pub table: Option<&'a Name>,
    /// The index that it is, or that its constraint has, as it was called: some places name it without its schema.
    pub index: Option<&'a Name>,
}

/// What a place in a statement names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Table,
    Sequence,
    Index,
}

impl Names {
    fn of(&self, relation: Relation) -> &HashMap<Name, Name> {
        match relation {
            Relation::Table => &self.tables,
            Relation::Sequence => &self.sequences,
            Relation::Index => &self.indexes,
        }
    }

    /// A relation of any kind: they share their names.
    fn any(&self, name: &Name) -> Option<&Name> {
        self.tables.get(name).or_else(|| self.sequences.get(name)).or_else(|| self.indexes.get(name))
    }

    /// A statement with the new names.
    pub fn statement(&self, sql: &str, own: Own<'_>) -> String {
        let all = tokens(sql);
        // Whitespace and comments stand where they stood.
        let places: Vec<usize> = (0..all.len()).filter(|n| all[*n].kind != Kind::Space).collect();
        let words: Vec<Token<'_>> = places.iter().map(|n| all[*n]).collect();
        let mut said: Vec<String> = all.iter().map(|t| t.text.to_owned()).collect();
        let mut change = |at: usize, text: String| said[places[at]] = text;
        let reading = Reading { names: self, own, words: &words };
        let mut depth = 0_usize;
        for (at, word) in words.iter().enumerate() {
            match word.text {
                "(" | "[" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if let Some(((schema, name), length)) = reading.relation(at, depth) {
                change(at, ident(schema));
                change(at + length - 1, ident(name));
            } else if let Some(name) = reading.alone(at, depth) {
                change(at, ident(name));
            } else if let Some(text) = reading.literal(at) {
                change(at, text);
            }
        }
        said.concat()
    }

    /// A type, as `format_type` prints it: every table has one of its rows.
    pub fn type_name(&self, type_name: &str) -> String {
        let cast = self.statement(&format!("::{type_name}"), Own::default());
        cast.strip_prefix("::").unwrap_or(type_name).to_owned()
    }

    /// The name of an object under the new names. Where no statement would take it, what it begins with is ours, and the
    /// relation is all that it names.
    pub fn identity(&self, identity: &str, own: Own<'_>) -> String {
        let ours = ["ATTACHMENT ", "DEFAULT ", "INDEX MARK ", "SEQUENCE OWNER "];
        let all = tokens(identity);
        let first = (0..all.len()).find_map(|at| Some((at, self.any(&chain(&all, at)?)?)));
        match first.filter(|_| ours.iter().any(|word| identity.starts_with(word))) {
            Some((at, (schema, name))) => {
                let text = |part: &[Token<'_>]| part.iter().map(|token| token.text).collect::<String>();
                format!("{}{}.{}{}", text(&all[..at]), ident(schema), ident(name), text(&all[at + 3..]))
            }
            None => self.statement(identity, own),
        }
    }
}

/// The tables that a foreign key refers to, by the statement that makes it, or by its definition.
pub fn referred_to(sql: &str) -> Vec<Name> {
    let words = words(sql);
    let is_one = |at: &usize| words[*at].is_keyword("REFERENCES");
    (0..words.len()).filter(is_one).filter_map(|at| chain(&words, at + 1)).collect()
}

/// The tables that a table inherits from, by the statement that makes it.
pub fn inherited(sql: &str) -> Vec<Name> {
    let words = words(sql);
    let Some(list) = words.iter().position(|word| word.is_keyword("INHERITS")) else { return Vec::new() };
    let is_open = |at: &usize| !words[list + 1..*at].iter().any(|word| word.is_symbol(")"));
    (list + 1..words.len()).take_while(is_open).filter_map(|at| chain(&words, at)).collect()
}

/// The tokens of a text without whitespace and comments.
fn words(sql: &str) -> Vec<Token<'_>> {
    tokens(sql).into_iter().filter(|token| token.kind != Kind::Space).collect()
}

/// The name of two parts that begins at a token.
fn chain(words: &[Token<'_>], at: usize) -> Option<Name> {
    let (schema, name) = (words.get(at)?.name()?, words.get(at + 2)?.name()?);
    words[at + 1].is_symbol(".").then_some((schema, name))
}

/// A statement that is being read; `words` are its tokens without whitespace.
struct Reading<'a> {
    names: &'a Names,
    own: Own<'a>,
    words: &'a [Token<'a>],
}

impl<'a> Reading<'a> {
    fn is(&self, at: Option<usize>, keyword: &str) -> bool {
        at.and_then(|at| self.words.get(at)).is_some_and(|word| word.is_keyword(keyword))
    }

    fn is_symbol(&self, at: usize, symbol: &str) -> bool {
        self.words.get(at).is_some_and(|word| word.is_symbol(symbol))
    }

    /// The new name of the relation that is named here with its schema, and how many tokens that takes.
    fn relation(&self, at: usize, depth: usize) -> Option<(&'a Name, usize)> {
        let old = chain(self.words, at)?;
        let relation = self.expected(at, depth)?;
        Some((self.names.of(relation).get(&old)?, 3))
    }

    /// What kind of relation a name here is one of; none where it may be something else.
    fn expected(&self, at: usize, depth: usize) -> Option<Relation> {
        let before = at.checked_sub(1)?;
        if self.words[before].is_symbol("::") || self.is_column_type(at, depth) {
            return Some(Relation::Table);
        }
        // `ONLY` stands between.
        let word = if self.is(Some(before), "ONLY") { before.checked_sub(1)? } else { before };
        let is = |keyword: &str| self.words[word].is_keyword(keyword);
        if is("NAME") && self.is(word.checked_sub(1), "SEQUENCE") {
            return Some(Relation::Sequence);
        }
        if self.is_inherited(at, depth) {
            return Some(Relation::Table);
        }
        if depth > 0 {
            return None;
        }
        match () {
            () if is("PARTITION") && self.is(Some(0), "ALTER") && self.is(Some(1), "INDEX") => {
                Some(Relation::Index)
            }
            () if ["TABLE", "ON", "REFERENCES", "PARTITION", "COLUMN"].into_iter().any(is) => {
                Some(Relation::Table)
            }
            () if is("BY") && self.is(word.checked_sub(1), "OWNED") => Some(Relation::Table),
            () if is("SEQUENCE") => Some(Relation::Sequence),
            () if is("INDEX") => Some(Relation::Index),
            () => None,
        }
    }

    /// Whether this is the second token of a column's definition in `CREATE TABLE`.
    fn is_column_type(&self, at: usize, depth: usize) -> bool {
        let Some(column) = at.checked_sub(1) else { return false };
        let Some(opening) = column.checked_sub(1) else { return false };
        let creates = self.is(Some(0), "CREATE") && (self.is(Some(1), "TABLE") || self.is(Some(2), "TABLE"));
        let begins = self.is_symbol(opening, "(") || self.is_symbol(opening, ",");
        creates
            && depth == 1
            && begins
            && self.words[column].name().is_some()
            && !self.words[column].is_keyword("CONSTRAINT")
            && !self.words[..at].iter().any(|word| word.is_keyword("INHERITS"))
    }

    /// Whether this is one of the tables behind `INHERITS`.
    fn is_inherited(&self, at: usize, depth: usize) -> bool {
        let opening = self.words[..at].iter().rposition(|word| word.is_symbol("("));
        depth == 1
            && opening.is_some_and(|at| self.is(at.checked_sub(1), "INHERITS"))
            && self.words.get(at - 1).is_some_and(|word| word.is_symbol("(") || word.is_symbol(","))
    }

    /// The new name of what is named here without its schema: the object's own index or constraint, or the row of its table.
    fn alone(&self, at: usize, depth: usize) -> Option<&'a str> {
        let name = self.words[at].name()?;
        if self.is_symbol(at + 1, ".") {
            let (old, row) = (self.own.table?, self.is_symbol(at + 2, "*"));
            let is_row = row && name == old.1 && !at.checked_sub(1).is_some_and(|at| self.is_symbol(at, "."));
            return is_row.then(|| self.names.tables.get(old).map(|new| new.1.as_str()))?;
        }
        let (before, old) = (at.checked_sub(1)?, self.own.index?);
        let is_named = ["INDEX", "CONSTRAINT"].iter().any(|word| self.is(Some(before), word))
            || (self.is(Some(before), "ON") && self.is(before.checked_sub(1), "CLUSTER"));
        let is_own = depth == 0 && is_named && name == old.1;
        is_own.then(|| self.names.indexes.get(old).map(|new| new.1.as_str()))?
    }

    /// What a literal of type `regclass` becomes, or the body of a statement of ours.
    fn literal(&self, at: usize) -> Option<String> {
        let value = self.words[at].value()?;
        if at == 1 && self.is(Some(0), "DO") {
            return Some(literal(&self.body(&value)));
        }
        self.is_regclass(at).then(|| self.renamed(&value).map(|new| literal(&new)))?
    }

    /// Whether a literal is a `regclass`: `'s.q'::regclass`, or `('s.q'::text)::regclass`.
    fn is_regclass(&self, at: usize) -> bool {
        let cast = |at: usize| self.is_symbol(at, "::");
        let named = |at: usize| {
            self.is(Some(at), "regclass")
                || self.is(Some(at), "pg_catalog")
                    && self.is_symbol(at + 1, ".")
                    && self.is(Some(at + 2), "regclass")
        };
        let by_text =
            self.is(Some(at + 2), "text") && self.is_symbol(at + 3, ")") && cast(at + 4) && named(at + 5);
        cast(at + 1) && (named(at + 2) || by_text)
    }

    fn renamed(&self, written: &str) -> Option<String> {
        let parts = tokens(written);
        let old = chain(&parts, 0).filter(|_| parts.len() == 3)?;
        let (schema, name) = self.names.any(&old)?;
        Some(format!("{}.{}", ident(schema), ident(name)))
    }

    /// The body of a block that gives the index of a partition its name.
    fn body(&self, sql: &str) -> String {
        let (inner, words) = (tokens(sql), words(sql));
        let reading = Reading { names: self.names, own: self.own, words: &words };
        let mut at = 0;
        let said = inner.iter().map(|token| {
            let here = at;
            at += usize::from(token.kind != Kind::Space);
            let Some(value) = token.value() else { return token.text.to_owned() };
            let own = || {
                let old =
                    self.own.index.filter(|old| old.1 == value && !reading.is_symbol(here + 1, "::"))?;
                self.names.indexes.get(old).map(|new| new.1.clone())
            };
            let new = if reading.is_regclass(here) { reading.renamed(&value) } else { own() };
            new.map_or_else(|| token.text.to_owned(), |new| literal(&new))
        });
        said.collect()
    }
}

/// As the server writes a literal: whatever `standard_conforming_strings` says, it is this text.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Name {
        let (schema, name) = text.split_once('.').unwrap();
        (schema.to_owned(), name.to_owned())
    }

    fn names() -> Names {
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(old, new)| (name(old), name(new))).collect();
        Names {
            tables: of(&[
                ("shop.items", "copy.items"),
                ("shop.Odd \"t\"", "copy.Odd"),
                ("shop.part", "copy.part"),
            ]),
            sequences: of(&[("shop.items_id_seq", "copy.items_id_seq")]),
            indexes: of(&[("shop.items_pkey", "copy.items_pkey1"), ("shop.part_x", "copy.part_x")]),
        }
    }

    fn check(sql: &str, expected: &str) {
        let (table, index) = (name("shop.items"), name("shop.items_pkey"));
        assert_eq!(names().statement(sql, Own { table: Some(&table), index: Some(&index) }), expected);
    }

    #[test]
    fn names_are_changed_where_a_relation_stands() {
        for (sql, expected) in [
            ("ALTER TABLE ONLY shop.items\n    ADD", "ALTER TABLE ONLY copy.items\n    ADD"),
            ("DROP TABLE shop.\"Odd \"\"t\"\"\"", "DROP TABLE copy.\"Odd\""),
            (
                "ALTER TABLE ONLY shop.x\n    ADD CONSTRAINT f FOREIGN KEY (shop) REFERENCES shop.items(items)",
                "ALTER TABLE ONLY shop.x\n    ADD CONSTRAINT f FOREIGN KEY (shop) REFERENCES copy.items(items)",
            ),
            (
                "CREATE UNIQUE INDEX items_pkey ON ONLY shop.items USING btree (shop.items(a)) WHERE (b = 'shop.items')",
                "CREATE UNIQUE INDEX items_pkey1 ON ONLY copy.items USING btree (shop.items(a)) WHERE (b = 'shop.items')",
            ),
            (
                "ALTER INDEX shop.items_pkey ATTACH PARTITION shop.part_x",
                "ALTER INDEX copy.items_pkey1 ATTACH PARTITION copy.part_x",
            ),
            (
                "ALTER TABLE ONLY shop.items ATTACH PARTITION shop.part FOR VALUES IN ('shop.items')",
                "ALTER TABLE ONLY copy.items ATTACH PARTITION copy.part FOR VALUES IN ('shop.items')",
            ),
            (
                "ALTER SEQUENCE shop.items_id_seq OWNED BY shop.items.shop",
                "ALTER SEQUENCE copy.items_id_seq OWNED BY copy.items.shop",
            ),
            (
                "COMMENT ON COLUMN shop.items.items IS 'shop.items'",
                "COMMENT ON COLUMN copy.items.items IS 'shop.items'",
            ),
            (
                "COMMENT ON CONSTRAINT items_pkey ON shop.items IS 'x'",
                "COMMENT ON CONSTRAINT items_pkey1 ON copy.items IS 'x'",
            ),
            ("ALTER TABLE shop.items CLUSTER ON items_pkey", "ALTER TABLE copy.items CLUSTER ON items_pkey1"),
            (
                "ALTER TABLE shop.items ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (\n    SEQUENCE NAME shop.items_id_seq\n)",
                "ALTER TABLE copy.items ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (\n    SEQUENCE NAME copy.items_id_seq\n)",
            ),
        ] {
            check(sql, expected);
        }
    }

    #[test]
    fn what_else_looks_like_a_name_is_kept() {
        let sql = "CREATE TABLE shop.items (
    id bigint DEFAULT nextval('shop.items_id_seq'::regclass) NOT NULL,
    old bigint DEFAULT nextval(('shop.items_id_seq'::text)::regclass),
    items shop.items[],
    shop text DEFAULT 'shop.items'::text COLLATE shop.items,
    a integer[] DEFAULT ARRAY[1, shop.items(2)],
    kind text DEFAULT (shop.items('shop.items_id_seq'::text))::text, -- shop.items
    CONSTRAINT c CHECK (((shop).items = E'it\\\\ shop.items') AND shop.items(items.*) AND ((x)::shop.items IS NOT NULL))
)
INHERITS (shop.part, shop.x)";
        let expected = sql
            .replace("CREATE TABLE shop.items", "CREATE TABLE copy.items")
            .replace("nextval('shop", "nextval('copy")
            .replace("nextval(('shop", "nextval(('copy")
            .replace("items shop.items[]", "items copy.items[]")
            .replace("::shop.items", "::copy.items")
            .replace("(shop.part", "(copy.part");
        check(sql, &expected);
        assert_eq!(inherited(sql), [name("shop.part"), name("shop.x")]);
        // Its row has its table's name.
        let mut other = names();
        other.tables.insert(name("shop.items"), name("shop.things"));
        let own = Own { table: Some(&name("shop.items")), index: None };
        assert_eq!(
            other.statement("ALTER TABLE shop.items ADD CHECK (f(items.*) AND (items).x AND items.x)", own),
            "ALTER TABLE shop.things ADD CHECK (f(things.*) AND (items).x AND items.x)"
        );
    }

    #[test]
    fn identities_and_the_body_of_a_block_follow() {
        let index = name("shop.items_pkey");
        let own = Own { table: None, index: Some(&index) };
        for (old, new) in [
            ("INDEX MARK shop.items_pkey", "INDEX MARK copy.items_pkey1"),
            ("ATTACHMENT shop.part", "ATTACHMENT copy.part"),
            ("DEFAULT shop.items.shop", "DEFAULT copy.items.shop"),
            ("SEQUENCE OWNER shop.items_id_seq", "SEQUENCE OWNER copy.items_id_seq"),
            ("CONSTRAINT items_pkey ON shop.items", "CONSTRAINT items_pkey1 ON copy.items"),
            ("TABLE shop.\"Odd \"\"t\"\"\"", "TABLE copy.\"Odd\""),
        ] {
            assert_eq!(names().identity(old, own), new);
        }
        let types = ["shop.items[]", "shop.mood", "numeric(10,2)"].map(|name| names().type_name(name));
        assert_eq!(types, ["copy.items[]", "shop.mood", "numeric(10,2)"]);
        check(
            "DO 'WHERE a = ''shop.part_x''::pg_catalog.regclass AND b <> ''items_pkey'' AND ''shop.items''::text'",
            "DO 'WHERE a = ''copy.part_x''::pg_catalog.regclass AND b <> ''items_pkey1'' AND ''shop.items''::text'",
        );
    }

    #[test]
    fn without_new_names_any_statement_stays_as_it_is() {
        const PIECES: [&str; 16] = [
            "TABLE ",
            "shop",
            ".",
            "items",
            "'shop.items'",
            "::",
            "regclass",
            "(",
            ")",
            ",",
            "ON ",
            "NAME ",
            "DO ",
            "*",
            "\"",
            "$a$",
        ];
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let own = name("shop.items");
        for _ in 0..5_000 {
            let mut sql = String::new();
            for _ in 0..14 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sql += PIECES[(state % PIECES.len() as u64) as usize];
            }
            let own = Own { table: Some(&own), index: Some(&own) };
            let none = Names::default();
            if !sql.starts_with("DO ") {
                assert_eq!(none.statement(&sql, own), sql);
            }
            // Whatever it says, nothing in it panics, and there and back is where it was but for quotes.
            let _ = (
                names().statement(&sql, own),
                names().identity(&sql, own),
                inherited(&sql),
                referred_to(&sql),
            );
        }
    }
}
