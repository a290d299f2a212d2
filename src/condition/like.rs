//! Patterns of LIKE and ILIKE.

use super::Refusal;

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    atoms: Vec<Atom>,
    /// Whether letters of ASCII match in capitals or not.
    folds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atom {
    Byte(u8),
    /// Any one character.
    One,
    /// Any characters, or none.
    Any,
}

impl Pattern {
    /// A pattern, with the character before which others stand for themselves; none: no character does that.
    pub fn new(text: &str, escape: Option<char>, folds: bool) -> Result<Pattern, Refusal> {
        let mut atoms = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        let plain = |c: char, atoms: &mut Vec<Atom>| {
            let c = if folds { c.to_ascii_lowercase() } else { c };
            atoms.extend(c.encode_utf8(&mut [0; 4]).bytes().map(Atom::Byte));
        };
        while let Some(c) = chars.next() {
            match c {
                c if Some(c) == escape => match chars.next() {
                    Some(c) => plain(c, &mut atoms),
                    None => {
                        return Err(Refusal::Wrong("a pattern ends with its escape character".to_owned()));
                    }
                },
                '%' if atoms.last() == Some(&Atom::Any) => {}
                '%' => atoms.push(Atom::Any),
                '_' => atoms.push(Atom::One),
                c => plain(c, &mut atoms),
            }
        }
        Ok(Pattern { atoms, folds })
    }

    /// Whether it counts characters.
    pub fn counts(&self) -> bool {
        self.atoms.contains(&Atom::One)
    }

    /// Whether all of a text matches. What an earlier `%` stands for need not be tried anew once a later one is reached.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut atom) = (0, 0);
        let mut last_any: Option<(usize, usize)> = None;
        loop {
            let step = match self.atoms.get(atom) {
                Some(Atom::Any) => {
                    last_any = Some((atom + 1, at));
                    atom += 1;
                    continue;
                }
                Some(Atom::One) if at < text.len() => Some(length_of_char(text, at)),
                Some(Atom::Byte(byte)) => text.get(at).filter(|b| self.folded(**b) == *byte).map(|_| 1),
                None if at == text.len() => return true,
                _ => None,
            };
            match (step, &mut last_any) {
                (Some(length), _) => {
                    at += length;
                    atom += 1;
                }
                (None, Some((behind, from))) if *from < text.len() => {
                    *from += length_of_char(text, *from);
                    (atom, at) = (*behind, *from);
                }
                _ => return false,
            }
        }
    }

    fn folded(&self, byte: u8) -> u8 {
        if self.folds { byte.to_ascii_lowercase() } else { byte }
    }
}

/// Of the character that begins there, or of a byte that begins none.
fn length_of_char(text: &[u8], at: usize) -> usize {
    let continues = |byte: &&u8| **byte & 0xC0 == 0x80;
    let rest = text.get(at + 1..).unwrap_or_default();
    let is_lead = text.get(at).is_some_and(|byte| *byte >= 0xC0);
    if is_lead { 1 + rest.iter().take(3).take_while(continues).count() } else { 1 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_matches_as_a_whole() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a", "%"][..]),
            ("%", &["", "a", "é\n"], &[]),
            ("a%", &["a", "ab", "a%"], &["", "ba", "A"]),
            ("%ab%c", &["abc", "xabxc", "aabbabc"], &["abcd", "acb"]),
            ("_", &["a", "é", "日", "\n"], &["", "ab"]),
            ("%_é_", &["aéb", "xxaéb", "ééé"], &["éa", "é"]),
            ("%é%é", &["éé", "aébé"], &["é"]),
            (r"\%\_\\", &[r"%_\"], &["ab\\"]),
            (r"a\b", &["ab"], &[r"a\b"]),
        ] {
            let pattern = Pattern::new(pattern, Some('\\'), false).unwrap();
            for (texts, expected) in [(yes, true), (no, false)] {
                texts
                    .iter()
                    .for_each(|text| assert_eq!(pattern.matches(text.as_bytes()), expected, "{text}"));
            }
        }
        let other = Pattern::new(r"50!%\", Some('!'), false).unwrap();
        assert!(other.matches(br"50%\") && !other.matches(b"50x\\"));
        assert!(Pattern::new(r"\%", None, false).unwrap().matches(br"\x"));
        let folding = Pattern::new("ÄbC", Some('\\'), true).unwrap();
        assert!(folding.matches("ÄBc".as_bytes()) && !folding.matches("äBc".as_bytes()));
        assert!(Pattern::new("a!", Some('!'), false).is_err());
    }

    #[test]
    fn many_wildcards_take_no_time() {
        let pattern = Pattern::new(&"%a".repeat(50), Some('\\'), false).unwrap();
        assert!(!pattern.matches(&b"a".repeat(49)) && pattern.matches(&b"a".repeat(100_000)));
    }
}
