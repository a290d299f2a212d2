//! Foreign keys as the server defines them: what `pg_get_constraintdef` says, and names as `quote_ident` quotes them. An
//! archive may hold any text there.

/// What the definition of a foreign key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// The columns that refer.
    pub columns: Vec<String>,
    /// Schema, where it is named, and name of the table that they refer to.
    pub table: (Option<String>, String),
    /// The columns that they refer to.
    pub referred: Vec<String>,
    /// Whether the last column of either is a span of time that is to lie within others (`PERIOD`, since 18).
    pub temporal: bool,
}

impl Definition {
    /// Reads a definition, or the statement that adds it; none where it is no foreign key's.
    pub fn parse(text: &str) -> Option<Definition> {
        // Behind the words no name can stand that holds them: the first place is in a name only if it is in quotes.
        let start = find_unquoted(text, "FOREIGN KEY ")?;
        let mut reader = Reader { text: &text[start + "FOREIGN KEY ".len()..] };
        let (columns, temporal) = reader.columns()?;
        reader.word(" REFERENCES ")?;
        let table = reader.name()?;
        let (referred, also) = reader.columns()?;
        (columns.len() == referred.len()).then_some(Definition {
            columns,
            table,
            referred,
            temporal: temporal || also,
        })
    }
}

/// Schema, where it is named, and name that stand behind `before`.
pub(super) fn name_behind(text: &str, before: &str) -> Option<(Option<String>, String)> {
    Reader { text: text.strip_prefix(before)? }.name()
}

/// Where `words` stand outside of double quotes.
fn find_unquoted(text: &str, words: &str) -> Option<usize> {
    let found = text.match_indices(words).map(|(at, _)| at);
    let mut seen = (0, false);
    for at in found {
        let quotes = text[seen.0..at].bytes().filter(|byte| *byte == b'"').count();
        seen = (at, seen.1 ^ (quotes % 2 == 1));
        if !seen.1 {
            return Some(at);
        }
    }
    None
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn word(&mut self, word: &str) -> Option<()> {
        self.text = self.text.strip_prefix(word)?;
        Some(())
    }

    /// A name, with its quotes taken off.
    fn identifier(&mut self) -> Option<String> {
        let Some(quoted) = self.text.strip_prefix('"') else {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            let end = self.text.find(|c| !is_part(c)).unwrap_or(self.text.len());
            let (name, rest) = self.text.split_at(end);
            self.text = rest;
            return (!name.is_empty()).then(|| name.to_owned());
        };
        let mut name = String::new();
        let mut rest = quoted;
        loop {
            let (part, behind) = rest.split_once('"')?;
            name.push_str(part);
            match behind.strip_prefix('"') {
                Some(behind) => {
                    name.push('"');
                    rest = behind;
                }
                None => {
                    self.text = behind;
                    return (!name.is_empty()).then_some(name);
                }
            }
        }
    }

    /// A name with or without a schema before it.
    fn name(&mut self) -> Option<(Option<String>, String)> {
        let first = self.identifier()?;
        match self.word(".") {
            Some(()) => Some((Some(first), self.identifier()?)),
            None => Some((None, first)),
        }
    }

    /// `(a, "b c", PERIOD d)`, and whether there is a period.
    fn columns(&mut self) -> Option<(Vec<String>, bool)> {
        self.word("(")?;
        let (mut columns, mut temporal) = (Vec::new(), false);
        loop {
            // A column of that name would not be quoted, but it is followed by none.
            let rest = self.text.strip_prefix("PERIOD ").filter(|rest| !rest.starts_with([',', ')']));
            if let Some(rest) = rest {
                self.text = rest;
                temporal = true;
            }
            columns.push(self.identifier()?);
            if self.word(", ").is_none() {
                self.word(")")?;
                return Some((columns, temporal));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_definition_is_read_as_the_server_writes_it() {
        let read = |text: &str| {
            let d = Definition::parse(text).unwrap();
            let schema = d.table.0.unwrap_or_default();
            format!(
                "{} > {schema}.{} {} {}",
                d.columns.join("|"),
                d.table.1,
                d.referred.join("|"),
                d.temporal
            )
        };
        assert_eq!(read("FOREIGN KEY (a) REFERENCES s.t(x)"), "a > s.t x false");
        assert_eq!(
            read(
                "FOREIGN KEY (a, \"b c\") REFERENCES \"S s\".\"t\"\"(\"(x, \"y,\") MATCH FULL ON DELETE SET NULL (a) DEFERRABLE NOT VALID"
            ),
            "a|b c > S s.t\"( x|y, false"
        );
        assert_eq!(
            read("FOREIGN KEY (id, PERIOD at) REFERENCES public.t(id, PERIOD \"at\")"),
            "id|at > public.t id|at true"
        );
        assert_eq!(read("FOREIGN KEY (größe) REFERENCES tische(größe)"), "größe > .tische größe false");
        let added =
            "ALTER TABLE ONLY s.\"FOREIGN KEY (x)\"\n    ADD CONSTRAINT c FOREIGN KEY (b) REFERENCES s.t(a)";
        assert_eq!(read(added), "b > s.t a false");
        assert_eq!(name_behind("ALTER TABLE ONLY a.\"b.c\" ATTACH", "ALTER TABLE ONLY ").unwrap().1, "b.c");
    }

    #[test]
    fn any_other_text_is_no_foreign_key() {
        for other in [
            "",
            "PRIMARY KEY (a)",
            "FOREIGN KEY ",
            "FOREIGN KEY (",
            "FOREIGN KEY ()",
            "FOREIGN KEY (a",
            "FOREIGN KEY (a,b) REFERENCES t(a, b)",
            "FOREIGN KEY (a) REFERENCES",
            "FOREIGN KEY (a) REFERENCES t",
            "FOREIGN KEY (a) REFERENCES t.(b)",
            "FOREIGN KEY (a) REFERENCES t(b, c)",
            "FOREIGN KEY (\"a) REFERENCES t(b)",
            "FOREIGN KEY (\"\") REFERENCES t(b)",
            "\"FOREIGN KEY (a) REFERENCES t(b)\"",
        ] {
            assert_eq!(Definition::parse(other), None, "{other}");
        }
    }
}
