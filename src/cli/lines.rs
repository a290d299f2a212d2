//! What differs between two texts, line by line.

/// Lines that are shown around each difference.
const AROUND: usize = 3;
/// Beyond so many pairs of lines, what differs is shown as one piece: nobody would read the pieces anyway.
const MOST_PAIRS: usize = 4_000_000;

/// Lines of `old` behind `-`, lines of `new` behind `+`, and a few lines of both around them; `…` where lines are left
/// out.
pub fn unified(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let all = edits(&old, &new);
    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        all[from..all.len().min(at + AROUND + 1)].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut shown = Vec::new();
    let mut skipping = false;
    for (at, (sign, line)) in all.iter().enumerate() {
        if near(at) {
            shown.push(format!("{sign}{line}"));
            skipping = false;
        } else if !skipping {
            shown.push(" …".to_owned());
            skipping = true;
        }
    }
    shown
}

/// All lines with their signs, those of the longest common subsequence behind a blank.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[before..], &new[before..]);
    let after = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old_rest[..old_rest.len() - after], &new_rest[..new_rest.len() - after]);

    let mut all: Vec<(char, &str)> = old[..before].iter().map(|line| (' ', *line)).collect();
    let (mut i, mut j) = (0, 0);
    if a.len() * b.len() <= MOST_PAIRS {
        // longest[i][j]: lines in common of a[i..] and b[j..].
        let mut longest = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                longest[i][j] = match a[i] == b[j] {
                    true => longest[i + 1][j + 1] + 1,
                    false => longest[i + 1][j].max(longest[i][j + 1]),
                };
            }
        }
        while i < a.len() && j < b.len() {
            if a[i] == b[j] {
                all.push((' ', a[i]));
                (i, j) = (i + 1, j + 1);
            } else if longest[i + 1][j] >= longest[i][j + 1] {
                all.push(('-', a[i]));
                i += 1;
            } else {
                all.push(('+', b[j]));
                j += 1;
            }
        }
    }
    all.extend(a[i..].iter().map(|line| ('-', *line)));
    all.extend(b[j..].iter().map(|line| ('+', *line)));
    all.extend(old_rest[old_rest.len() - after..].iter().map(|line| (' ', *line)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_with_what_stands_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9";
        let new = "1\n2\n3\n4\nfive\n6\n8\n9";
        assert_eq!(unified(old, new), [" …", " 2", " 3", " 4", "-5", "+five", " 6", "-7", " 8", " 9"]);
        assert_eq!(unified("a", "a\nb"), [" a", "+b"]);
        assert_eq!(unified("", "b"), ["+b"]);
    }

    #[test]
    fn a_difference_is_the_shortest_there_is() {
        let (old, new) = (["a", "b", "c", "a", "b"], ["b", "c", "b"]);
        let signs: String = edits(&old, &new).iter().map(|(sign, _)| *sign).collect();
        assert_eq!(signs.trim_start_matches('-').len() + 1, 5);
        assert_eq!(signs.chars().filter(|c| *c != ' ').count(), 2);
    }
}
