//! Objects of a schema on the screen: their statements, coloured on a terminal.

use super::context::printable;
use crate::schema::Object;
use crate::schema::script::Style;

/// All statements of an object, each with its semicolon and a blank line between.
pub fn text(object: &Object) -> String {
    let (style, object) = (Style::default(), object.concealed());
    let mut all = object.definition(&style);
    all.extend(object.privilege_statements(&style));
    all.iter().map(|sql| format!("{sql};")).collect::<Vec<_>>().join("\n\n")
}

/// What a terminal may be shown: no archive moves its cursor. Tabs stay, as bodies of functions are full of them.
pub fn for_terminal(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Colours keywords and literals. The server writes keywords in capitals and quotes names that hold any, so whatever
/// stands in capitals outside of quotes is a keyword.
pub fn coloured(sql: &str) -> String {
    const KEYWORD: &str = "\x1b[1;34m";
    const LITERAL: &str = "\x1b[32m";
    const PLAIN: &str = "\x1b[0m";
    let mut out = String::with_capacity(sql.len() * 2);
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (end, colour) = match first {
            '\'' => (quoted(rest, '\''), LITERAL),
            '"' => (quoted(rest, '"'), ""),
            '$' => (dollar_quoted(rest), ""),
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                let end = end.unwrap_or(rest.len());
                let word = &rest[..end];
                let is_keyword = word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
                (end, if is_keyword { KEYWORD } else { "" })
            }
            c => (c.len_utf8(), ""),
        };
        let (piece, after) = rest.split_at(end);
        if colour.is_empty() {
            out.push_str(piece);
        } else {
            // A pager colours each line for itself.
            out += &format!("{colour}{}{PLAIN}", piece.replace('\n', &format!("{PLAIN}\n{colour}")));
        }
        rest = after;
    }
    out
}

/// Where the quoted text at the beginning ends.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |at| at + 2)
}

/// Where the `$tag$…$tag$` at the beginning ends; behind the dollar, if it is none.
fn dollar_quoted(text: &str) -> usize {
    let Some(tag) = text[1..].find('$').map(|at| &text[..at + 2]) else { return 1 };
    if !tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_') {
        return 1;
    }
    text[tag.len()..].find(tag).map_or(text.len(), |at| at + 2 * tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_literals_are_coloured_and_nothing_else() {
        let plain =
            |text: &str| text.replace("\x1b[1;34m", "<").replace("\x1b[32m", "{").replace("\x1b[0m", ">");
        assert_eq!(
            plain(&coloured("CREATE TABLE public.\"T B\" (a text DEFAULT 'NOT'::text)")),
            "<CREATE> <TABLE> public.\"T B\" (a text <DEFAULT> {'NOT'>::text)"
        );
        assert_eq!(plain(&coloured("AS $f$ SELECT $1 $f$ ET a$b $x")), "<AS> $f$ SELECT $1 $f$ <ET> a$b $x");
        assert_eq!(plain(&coloured("IS 'a\nb'")), "<IS> {'a>\n{b'>");
        for odd in ["'", "\"", "$", "$$", "$é", "é'"] {
            assert_eq!(plain(&coloured(odd)).replace(['{', '>'], ""), odd);
        }
    }
}
