//! SQL text in tokens, as far as names have to be told from all else: strings of every kind, quoted names, comments.
//!
//! The tokens of a text put together are the text again, whatever it holds.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string of characters: `'…'`, `E'…'` or between dollars.
    Literal,
    /// Whitespace or a comment.
    Space,
    /// `::`, or any one character that is nothing else.
    Symbol,
    /// A number, a parameter, or a string of another kind, such as bits.
    Other,
}

/// A piece of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// How it is written.
    pub text: &'a str,
}

impl Token<'_> {
    /// The name that it is, without quotes, and in lower case where it has none.
    pub fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_ascii_lowercase()),
            Kind::Quoted => {
                let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
                Some(inner.replace("\"\"", "\""))
            }
            _ => None,
        }
    }

    /// Whether it is this keyword, which is given in capitals.
    pub fn is_keyword(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this symbol.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// What a string says, where that is certain: not where it has escapes other than of a quote or a backslash.
    pub fn value(&self) -> Option<String> {
        if self.kind != Kind::Literal {
            return None;
        }
        if let Some(rest) = self.text.strip_prefix('$') {
            let tag = &self.text[..rest.find('$')? + 2];
            return Some(self.text.get(tag.len()..)?.strip_suffix(tag)?.to_owned());
        }
        let escapes = self.text.starts_with(['e', 'E']);
        let inner = self.text.trim_start_matches(['e', 'E']).strip_prefix('\'')?.strip_suffix('\'')?;
        let mut plain = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            match c {
                '\'' => plain.push(chars.next().filter(|c| *c == '\'')?),
                '\\' if escapes => plain.push(chars.next().filter(|c| matches!(c, '\\' | '\''))?),
                c => plain.push(c),
            }
        }
        Some(plain)
    }
}

/// The tokens of a text. What is opened and never closed goes to the text's end.
pub fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = next(rest, first);
        let (text, behind) = rest.split_at(length.min(rest.len()));
        all.push(Token { kind, text });
        rest = behind;
    }
    all
}

/// Kind and length in bytes of the token that a text begins with.
fn next(text: &str, first: char) -> (Kind, usize) {
    let second = text[first.len_utf8()..].chars().next();
    match first {
        c if c.is_ascii_whitespace() => (Kind::Space, run(text, |c| c.is_ascii_whitespace())),
        '-' if second == Some('-') => (Kind::Space, text.find('\n').map_or(text.len(), |end| end + 1)),
        '/' if second == Some('*') => (Kind::Space, comment(text)),
        '\'' => (Kind::Literal, quoted(text, '\'', false)),
        '"' => (Kind::Quoted, quoted(text, '"', false)),
        'e' | 'E' if second == Some('\'') => (Kind::Literal, 1 + quoted(&text[1..], '\'', true)),
        'b' | 'B' | 'x' | 'X' | 'n' | 'N' if second == Some('\'') => {
            (Kind::Other, 1 + quoted(&text[1..], '\'', false))
        }
        'u' | 'U' if text[1..].starts_with("&'") => (Kind::Other, 2 + quoted(&text[2..], '\'', false)),
        'u' | 'U' if text[1..].starts_with("&\"") => (Kind::Other, 2 + quoted(&text[2..], '"', false)),
        '$' => dollar(text),
        '0'..='9' => (Kind::Other, number(text)),
        c if begins_name(c) => (Kind::Word, run(text, goes_on)),
        ':' if second == Some(':') => (Kind::Symbol, 2),
        c => (Kind::Symbol, c.len_utf8()),
    }
}

/// As the server's scanner has it: letters, underscores and everything beyond ASCII.
fn begins_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn goes_on(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || c == '$'
}

fn run(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// The length of a text in quotes, in which two of them are one.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// Comments within comments count.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// A string between dollars, a parameter, or a dollar.
fn dollar(text: &str) -> (Kind, usize) {
    let tag = 1 + run(&text[1..], |c| goes_on(c) && c != '$');
    let is_tag = text[tag..].starts_with('$') && !text[1..].starts_with(|c: char| c.is_ascii_digit());
    if is_tag {
        let tag = &text[..=tag];
        let end = text[tag.len()..].find(tag).map_or(text.len(), |at| at + 2 * tag.len());
        return (Kind::Literal, end);
    }
    match run(&text[1..], |c| c.is_ascii_digit()) {
        0 => (Kind::Symbol, 1),
        digits => (Kind::Other, 1 + digits),
    }
}

/// Digits with a fraction and an exponent, so that no dot in it is taken for one between names.
fn number(text: &str) -> usize {
    let mut end = run(text, |c| c.is_ascii_alphanumeric() || c == '_');
    if text[end..].starts_with('.') {
        end += 1 + run(&text[end + 1..], |c| c.is_ascii_alphanumeric() || c == '_');
    }
    if text[..end].ends_with(['e', 'E']) && text[end..].starts_with(['+', '-']) {
        end += 1 + run(&text[end + 1..], |c| c.is_ascii_digit());
    }
    end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kinds(sql: &str) -> Vec<(Kind, &str)> {
        tokens(sql).into_iter().filter(|t| t.kind != Kind::Space).map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn strings_names_and_comments_are_told_apart() {
        use Kind::{Literal, Other, Quoted, Symbol, Word};
        assert_eq!(
            kinds("a.\"b\"\"c\" -- it's\n'd''e' E'f\\'g' /* h /* ' */ */ $x$ 'y $x$::é$1"),
            [
                (Word, "a"),
                (Symbol, "."),
                (Quoted, "\"b\"\"c\""),
                (Literal, "'d''e'"),
                (Literal, "E'f\\'g'"),
                (Literal, "$x$ 'y $x$"),
                (Symbol, "::"),
                (Word, "é$1"),
            ]
        );
        assert_eq!(
            kinds("1.5e-3 .5 a.b1 $1 B'01' U&\"d\" 7.x"),
            [
                (Other, "1.5e-3"),
                (Symbol, "."),
                (Other, "5"),
                (Word, "a"),
                (Symbol, "."),
                (Word, "b1"),
                (Other, "$1"),
                (Other, "B'01'"),
                (Other, "U&\"d\""),
                (Other, "7.x"),
            ]
        );
    }

    #[test]
    fn what_names_and_strings_say_is_known() {
        let only = |sql: &'static str| tokens(sql)[0];
        assert_eq!(only("Ab").name().unwrap(), "ab");
        assert_eq!(only("\"A\"\"b\"").name().unwrap(), "A\"b");
        assert_eq!(only("'a''b\\'").value().unwrap(), "a'b\\");
        assert_eq!(only("E'a\\\\b\\''").value().unwrap(), "a\\b'");
        assert_eq!(only("E'a\\n'").value(), None);
        assert_eq!(only("$q$it's$q$").value().unwrap(), "it's");
        assert_eq!((only("'never closed").value(), only("\"").name()), (None, None));
    }

    #[test]
    fn the_tokens_of_any_text_are_that_text() {
        const PIECES: [&str; 22] = [
            "'", "\"", "$", "$a$", "E'", "\\", "--", "/*", "*/", "\n", " ", ".", "::", ":", "a", "é", "7",
            "e", "U&", "(", "B", "🦀",
        ];
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..20_000 {
            let mut sql = String::new();
            for _ in 0..12 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sql += PIECES[(state % PIECES.len() as u64) as usize];
            }
            let all = tokens(&sql);
            assert_eq!(all.iter().map(|t| t.text).collect::<String>(), sql);
            assert!(all.iter().all(|t| !t.text.is_empty()), "{sql}");
            // Nothing that is asked of a token panics.
            all.iter().for_each(|t| drop((t.name(), t.value())));
        }
    }
}
