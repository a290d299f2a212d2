//! What people call a table, and which tables, rows and columns a command is about: the patterns of `--table` and
//! `--exclude`, the conditions of `--where`, the lists of `--columns`.
//!
//! A pattern is `schema.table` or `table`; a bare name means schema `public`, as in logs and on screen. `*` stands
//! for any characters and `?` for one, except within double quotes, which also keep a dot from separating the parts of
//! a name and a comma the names of a list.

pub mod mapping;

/// A pattern that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("bad table pattern {pattern:?}: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Char(char),
    AnyChar,
    AnyText,
}

/// One parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    bare: bool,
    schema: Vec<Atom>,
    name: Vec<Atom>,
}

impl Pattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let fail = |problem| PatternError { pattern: text.to_owned(), problem };
        let mut parts: Vec<Vec<Atom>> = vec![Vec::new()];
        let mut chars = text.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            let atom = match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    Atom::Char('"')
                }
                '"' => {
                    quoted = !quoted;
                    continue;
                }
                '.' if !quoted => {
                    parts.push(Vec::new());
                    continue;
                }
                '*' if !quoted => Atom::AnyText,
                '?' if !quoted => Atom::AnyChar,
                c => Atom::Char(c),
            };
            if let Some(part) = parts.last_mut() {
                part.push(atom);
            }
        }
        if quoted {
            return Err(fail("a double quote is not closed"));
        }
        if parts.iter().any(|p| p.is_empty()) {
            return Err(fail("a name is empty"));
        }
        let bare = parts.len() == 1;
        let mut parts = parts.into_iter();
        let (schema, name) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, _) => ("public".chars().map(Atom::Char).collect(), name),
            (Some(schema), Some(name), None) => (schema, name),
            _ => return Err(fail("more than one dot; put a name that holds a dot in double quotes")),
        };
        Ok(Pattern { text: text.to_owned(), bare, schema, name })
    }

    /// All tables of the schemas that a pattern of names means.
    pub fn of_schema(text: &str) -> Result<Pattern, PatternError> {
        let named = Pattern::parse(text)?;
        if !named.bare {
            let problem = "a schema has no dot; put a name that holds one in double quotes";
            return Err(PatternError { pattern: text.to_owned(), problem });
        }
        Ok(Pattern { text: format!("{text}.*"), bare: false, schema: named.name, name: vec![Atom::AnyText] })
    }

    /// Just this table, whatever is in its name.
    pub fn exact(schema: &str, name: &str) -> Pattern {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let plain = |name: &str| name.chars().map(Atom::Char).collect();
        Pattern {
            text: format!("{}.{}", quoted(schema), quoted(name)),
            bare: false,
            schema: plain(schema),
            name: plain(name),
        }
    }

    /// Whether the pattern means this table.
    pub fn matches(&self, schema: &str, name: &str) -> bool {
        matches(&self.schema, schema) && matches(&self.name, name)
    }

    /// Whether it names no schema, and so means `public`.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// Whether it is the name of one table.
    pub fn is_name(&self) -> bool {
        self.schema.iter().chain(&self.name).all(|atom| matches!(atom, Atom::Char(_)))
    }

    /// How many of its characters stand for themselves, the schema's counted, too.
    pub fn exactness(&self) -> usize {
        self.schema.iter().chain(&self.name).filter(|atom| matches!(atom, Atom::Char(_))).count()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The pieces between commas that are not quoted.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

/// Glob matching with one point to go back to, so that no pattern takes more than length × length steps.
fn matches(atoms: &[Atom], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut a, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match atoms.get(a) {
            Some(Atom::AnyText) => {
                retry = Some((a, t));
                a += 1;
            }
            Some(Atom::AnyChar) => {
                a += 1;
                t += 1;
            }
            Some(Atom::Char(c)) if *c == text[t] => {
                a += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    a = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    atoms[a..].iter().all(|atom| *atom == Atom::AnyText)
}

/// Parsed patterns: what to take and what to leave out.
#[derive(Clone, Debug, Default)]
pub struct TableFilter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl TableFilter {
    /// Parses the patterns, each of which may be a list with commas; no `tables` means all.
    pub fn parse(tables: &[String], exclude: &[String]) -> Result<TableFilter, PatternError> {
        let all = |list: &[String]| {
            list.iter().flat_map(|text| split_list(text)).map(Pattern::parse).collect::<Result<Vec<_>, _>>()
        };
        Ok(TableFilter { include: all(tables)?, exclude: all(exclude)? })
    }

    /// With all tables of these schemas beside those of `--table`; each text may be a list with commas.
    pub fn with_schemas(mut self, schemas: &[String]) -> Result<TableFilter, PatternError> {
        for name in schemas.iter().flat_map(|text| split_list(text)) {
            self.include.push(Pattern::of_schema(name)?);
        }
        Ok(self)
    }

    /// Just these tables, by schema and name.
    pub fn of_tables<'a>(names: impl IntoIterator<Item = (&'a str, &'a str)>) -> TableFilter {
        let include = names.into_iter().map(|(schema, name)| Pattern::exact(schema, name)).collect();
        TableFilter { include, exclude: Vec::new() }
    }

    /// These tables, too, where not all are wanted anyway.
    pub fn and_tables<'a>(mut self, names: impl IntoIterator<Item = (&'a str, &'a str)>) -> TableFilter {
        if self.has_includes() {
            let known = |p: &Pattern| self.include.iter().any(|known| known.text == p.text);
            let new = TableFilter::of_tables(names).include;
            let new: Vec<Pattern> = new.into_iter().filter(|p| !known(p)).collect();
            self.include.extend(new);
        }
        self
    }

    /// Whether a table is wanted.
    pub fn wants(&self, schema: &str, name: &str) -> bool {
        (self.include.is_empty() || self.includes(schema, name)) && !self.excludes(schema, name)
    }

    /// Whether a pattern of `--table` names this table.
    pub fn includes(&self, schema: &str, name: &str) -> bool {
        self.include.iter().any(|p| p.matches(schema, name))
    }

    /// Whether a pattern of `--exclude` names this table.
    pub fn excludes(&self, schema: &str, name: &str) -> bool {
        self.exclude.iter().any(|p| p.matches(schema, name))
    }

    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether `--table` was given.
    pub fn has_includes(&self) -> bool {
        !self.include.is_empty()
    }

    /// Patterns (of either kind) that mean none of the tables of `names`.
    pub fn unmatched<'a>(&self, names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<String> {
        self.include
            .iter()
            .chain(&self.exclude)
            .filter(|p| !names.clone().any(|(schema, name)| p.matches(schema, name)))
            .map(|p| p.as_str().to_owned())
            .collect()
    }

    /// The patterns of the tables to take and of those to leave out, as they were given.
    pub fn patterns(&self) -> (Vec<String>, Vec<String>) {
        let texts = |list: &[Pattern]| list.iter().map(|p| p.as_str().to_owned()).collect();
        (texts(&self.include), texts(&self.exclude))
    }
}

/// What is said of tables by patterns: `PATTERN: TEXT`, where several may be about the same table.
#[derive(Clone, Debug, Default)]
pub struct ByTable {
    said: Vec<(Pattern, String)>,
}

impl ByTable {
    /// Parses texts such as `bookings: status = 'open'`. The colon that ends the pattern is the first that is not quoted.
    pub fn parse(texts: &[String]) -> Result<ByTable, PatternError> {
        let one = |text: &String| {
            let mut quoted = false;
            let colon = text.find(|c| {
                quoted ^= c == '"';
                c == ':' && !quoted
            });
            let problem = "write TABLE: and what is said of it, such as bookings: status = 'open'";
            let fail = || PatternError { pattern: text.clone(), problem };
            let (pattern, said) = text.split_at(colon.ok_or_else(fail)?);
            let said = said[1..].trim();
            if said.is_empty() { Err(fail()) } else { Ok((Pattern::parse(pattern.trim())?, said.to_owned())) }
        };
        Ok(ByTable { said: texts.iter().map(one).collect::<Result<_, _>>()? })
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// What was said, as texts that [`ByTable::parse`] reads.
    pub fn texts(&self) -> Vec<String> {
        self.said.iter().map(|(pattern, said)| format!("{}: {said}", pattern.as_str())).collect()
    }

    /// What is said of a table.
    pub fn of<'a>(&'a self, schema: &str, name: &str) -> impl Iterator<Item = &'a str> {
        let meant = self.said.iter().filter(|(pattern, _)| pattern.matches(schema, name));
        meant.map(|(_, said)| said.as_str()).collect::<Vec<_>>().into_iter()
    }

    /// Patterns that mean none of the tables of `names`.
    pub fn unmatched<'a>(&self, names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<String> {
        self.said
            .iter()
            .filter(|(p, _)| !names.clone().any(|(schema, name)| p.matches(schema, name)))
            .map(|(p, _)| p.as_str().to_owned())
            .collect()
    }
}

/// Which rows and columns of tables are meant.
#[derive(Clone, Debug, Default)]
pub struct RowChoice {
    /// Conditions on rows, as SQL.
    pub conditions: ByTable,
    /// Lists of columns.
    pub columns: ByTable,
}

impl RowChoice {
    /// Whether all rows with all columns are.
    pub fn is_all(&self) -> bool {
        self.conditions.is_empty() && self.columns.is_empty()
    }

    /// The condition on rows of a table, where there is one: all that is said of it has to hold.
    pub fn condition(&self, schema: &str, name: &str) -> Option<String> {
        let all: Vec<String> = self.conditions.of(schema, name).map(|c| format!("({c}\n)")).collect();
        if all.is_empty() { None } else { Some(all.join(" AND ")) }
    }

    /// The columns of a table, where some are chosen.
    pub fn columns(&self, schema: &str, name: &str) -> Option<Vec<String>> {
        let lists: Vec<&str> = self.columns.of(schema, name).collect();
        let unquoted = |text: &str| match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            Some(inner) => inner.replace("\"\"", "\""),
            None => text.to_owned(),
        };
        let all = lists.iter().flat_map(|list| split_list(list)).map(|name| unquoted(name.trim()));
        if lists.is_empty() { None } else { Some(all.collect()) }
    }

    /// Patterns that mean none of the tables of `names`.
    pub fn unmatched<'a>(&self, names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<String> {
        [self.conditions.unmatched(names.clone()), self.columns.unmatched(names)].concat()
    }
}

/// The name by which logs and people call a relation: bare in schema `public`, else `schema.name`. A part that
/// holds a dot or a double quote is quoted as in SQL, so that no two relations are shown alike.
pub fn shown_name(schema: &str, name: &str) -> String {
    if schema == "public" { shown_part(name) } else { format!("{}.{}", shown_part(schema), shown_part(name)) }
}

fn shown_part(name: &str) -> String {
    if name.contains(['.', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn means(pattern: &str, schema: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(schema, name)
    }

    #[test]
    fn a_bare_name_means_schema_public() {
        assert!(means("users", "public", "users"));
        assert!(!means("users", "auth", "users"));
        assert!(means("auth.users", "auth", "users"));
        assert!(means("*.users", "auth", "users"));
    }

    #[test]
    fn stars_and_question_marks_match_within_a_name_and_quotes_make_them_plain() {
        assert!(means("audit_*", "public", "audit_logs"));
        assert!(means("*a*b*", "public", "xxaxxbxx"));
        assert!(!means("*a*b", "public", "xxaxxbxx"));
        assert!(means("t?", "public", "t1"));
        assert!(means("\"t?\"", "public", "t?") && !means("\"t?\"", "public", "t1"));
        assert!(means("\"a.b\"", "public", "a.b") && !means("\"a.b\"", "a", "b"));
        assert!(means("\"say \"\"hi\"\"\"", "public", "say \"hi\""));
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_split_at_commas_that_are_not_quoted() {
        let filter = TableFilter::parse(&["a,\"b,c\"".into(), "d".into()], &[]).unwrap();
        let wanted = ["a", "b,c", "d"].map(|name| filter.wants("public", name));
        assert_eq!(wanted, [true; 3]);
        assert!(!filter.wants("public", "b") && TableFilter::parse(&["a,".into()], &[]).is_err());
    }

    #[test]
    fn what_is_said_of_tables_is_found_by_their_names() {
        let choice = RowChoice {
            conditions: ByTable::parse(&[
                "bookings: at::date > 'x:y'".into(),
                "\"a:b\".*:id = 1".into(),
                "b*: true".into(),
            ])
            .unwrap(),
            columns: ByTable::parse(&["bookings: id, \"a, \"\"b\"\"\"".into()]).unwrap(),
        };
        assert_eq!(choice.condition("public", "bookings").unwrap(), "(at::date > 'x:y'\n) AND (true\n)");
        assert_eq!(choice.condition("a:b", "t").unwrap(), "(id = 1\n)");
        assert_eq!(choice.condition("public", "users"), None);
        assert_eq!(choice.columns("public", "bookings").unwrap(), ["id", "a, \"b\""]);
        assert_eq!(choice.unmatched([("public", "bookings")].into_iter()), ["\"a:b\".*"]);
        for bad in ["", "bookings", "bookings:", ": true", "a.b.c: true"] {
            assert!(ByTable::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schemas_name_means_its_tables() {
        let filter = TableFilter::default().with_schemas(&["auth,\"a.b\"".into(), "x*".into()]).unwrap();
        let wanted = [("auth", "users"), ("a.b", "c"), ("xy", "z"), ("public", "users")];
        assert_eq!(wanted.map(|(schema, name)| filter.wants(schema, name)), [true, true, true, false]);
        assert!(TableFilter::default().with_schemas(&["a.b".into()]).is_err());
    }

    #[test]
    fn tables_can_be_named_whatever_is_in_their_names() {
        let names = [("public", "a*"), ("x.y", "q\"z")];
        let filter = TableFilter::of_tables(names);
        let again = TableFilter::parse(&filter.patterns().0, &[]).unwrap();
        for (schema, name) in names {
            assert!(filter.wants(schema, name) && again.wants(schema, name), "{schema} {name}");
        }
        assert!(!filter.wants("public", "ab") && !again.wants("public", "ab"));
    }

    #[test]
    fn a_pattern_that_means_nothing_is_named() {
        let filter = TableFilter::parse(&["users".into(), "usrs".into()], &["x*".into()]).unwrap();
        assert_eq!(filter.unmatched([("public", "users")].into_iter()), ["usrs", "x*"]);
    }
}
