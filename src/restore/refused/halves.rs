//! Which of many rows are to be tried together, so that those are found that the server refuses: what fails is tried again
//! by halves, down to single rows. Of `n` rows of which `b` are refused, that takes some `b · log₂ n` tries. Where the server
//! says at which row it stopped, that one is tried for itself: three tries for each, and no row is sent much more than twice.

use std::ops::Range;

/// Rows that are still to be tried, from the first to the last. What is tried and not refused is in from then on, so that of
/// rows that are bad only together the later one is refused.
#[derive(Debug)]
pub struct Halves {
    /// The next one is the last. Whether it is known to fail as a whole, and whether what is before it was its other half.
    todo: Vec<Part>,
    tried: Part,
    /// Whether a row that the server named was the one.
    is_named_rightly: bool,
}

#[derive(Clone, Debug)]
struct Part {
    rows: Range<u64>,
    is_certain: bool,
    is_second: bool,
    is_named: bool,
}

impl Halves {
    /// Rows that have been refused as a whole, for `named` if the server has said so.
    pub fn of(rows: Range<u64>, named: Option<u64>) -> Halves {
        let all = Part { rows: rows.clone(), is_certain: true, is_second: false, is_named: false };
        let mut halves = Halves { todo: Vec::new(), tried: all.clone(), is_named_rightly: true };
        match rows.end.saturating_sub(rows.start) {
            0 | 1 => halves.todo.push(all),
            _ => halves.split(rows, named),
        }
        halves
    }

    /// Adds the halves of a part, the first to be tried first; or the named row, and what is on either side of it.
    fn split(&mut self, rows: Range<u64>, named: Option<u64>) {
        let part = |rows| Part { rows, is_certain: false, is_second: false, is_named: false };
        if let Some(named) = named.filter(|named| self.is_named_rightly && rows.contains(named)) {
            self.todo.push(part(named + 1..rows.end));
            self.todo.push(Part { is_named: true, ..part(named..named + 1) });
            self.todo.push(part(rows.start..named));
            return;
        }
        let middle = rows.start + (rows.end - rows.start) / 2;
        self.todo.push(Part { is_second: true, ..part(middle..rows.end) });
        self.todo.push(part(rows.start..middle));
    }

    /// What is to be tried next; then one of the two others is to be called. None: all has been tried.
    pub fn to_try(&mut self) -> Option<Range<u64>> {
        loop {
            let part = self.todo.pop()?;
            match part.rows.end.saturating_sub(part.rows.start) {
                0 => {}
                // It has to be tried to learn why it is refused.
                1 => return Some(self.begin(part)),
                _ if part.is_certain => self.split(part.rows, None),
                _ => return Some(self.begin(part)),
            }
        }
    }

    fn begin(&mut self, part: Part) -> Range<u64> {
        self.tried = part;
        self.tried.rows.clone()
    }

    /// What was tried last is in.
    pub fn taken(&mut self) {
        self.is_named_rightly &= !self.tried.is_named;
        // Then it is the other half that the whole was refused for.
        if !self.tried.is_second
            && let Some(other) = self.todo.last_mut().filter(|other| other.is_second)
        {
            other.is_certain = true;
        }
    }

    /// What was tried last was refused, for `named` if the server has said so. Returns the row, if it was a single one.
    pub fn refused(&mut self, named: Option<u64>) -> Option<u64> {
        let rows = self.tried.rows.clone();
        if rows.end - rows.start == 1 {
            return Some(rows.start);
        }
        self.split(rows, named);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Halves;

    /// The rows that are found, and how many tries that took. `name`: which row the server names of those that are tried.
    fn find_named(
        rows: u64,
        is_bad: impl Fn(u64) -> bool,
        name: impl Fn(std::ops::Range<u64>) -> Option<u64>,
    ) -> (Vec<u64>, usize) {
        let (mut found, mut tries) = (Vec::new(), 0);
        let mut halves = Halves::of(0..rows, name(0..rows));
        while let Some(part) = halves.to_try() {
            tries += 1;
            if part.clone().any(&is_bad) {
                found.extend(halves.refused(name(part)));
            } else {
                halves.taken();
            }
        }
        (found, tries)
    }

    fn find(rows: u64, is_bad: impl Fn(u64) -> bool) -> (Vec<u64>, usize) {
        find_named(rows, is_bad, |_| None)
    }

    #[test]
    fn a_row_that_is_named_is_tried_and_believed_only_if_it_is_the_one() {
        let is_bad = |row: u64| row % 1000 == 7;
        let bad: Vec<u64> = (0..10).map(|n| n * 1000 + 7).collect();
        let (found, tries) = find_named(10_000, is_bad, |mut part| part.find(|row| is_bad(*row)));
        assert_eq!((&found, tries <= 3 * bad.len() + 1), (&bad, true), "{tries}");
        for wrong in
            [|part: std::ops::Range<u64>| Some(part.start), |part: std::ops::Range<u64>| Some(part.end)]
        {
            let (found, tries) = find_named(10_000, is_bad, wrong);
            assert_eq!((&found, tries < 10 * 2 * 14), (&bad, true), "{tries}");
        }
    }

    #[test]
    fn bad_rows_are_found_in_few_tries() {
        for bad in [vec![0], vec![9_999], vec![4_999, 5_000], vec![17, 5_123, 9_000]] {
            let (found, tries) = find(10_000, |row| bad.contains(&row));
            assert_eq!(found, bad);
            assert!(tries <= bad.len() * 2 * 14, "{tries} tries for {bad:?}");
        }
        assert_eq!(find(1, |_| true), (vec![0], 1));
        assert_eq!(find(5, |_| true).0, [0, 1, 2, 3, 4]);
        assert_eq!(find(0, |_| true), (vec![], 0));
        assert_eq!(find(1000, |_| false).0, [0_u64; 0]);
    }

    #[test]
    fn of_rows_that_are_bad_only_together_the_later_one_is_refused() {
        let mut taken: Vec<u64> = Vec::new();
        let mut found = Vec::new();
        let mut halves = Halves::of(0..100, None);
        // 20 and 21 meet, and so do 3 and 77.
        let meets = |row: u64| [(20, 21), (3, 77)].iter().find(|(_, b)| *b == row).map(|(a, _)| *a);
        while let Some(part) = halves.to_try() {
            let others: Vec<u64> = taken.iter().copied().chain(part.clone()).collect();
            if part.clone().filter_map(meets).any(|other| others.contains(&other)) {
                found.extend(halves.refused(None));
            } else {
                taken.extend(part);
                halves.taken();
            }
        }
        assert_eq!((found, taken.len()), (vec![21, 77], 98));
    }
}
