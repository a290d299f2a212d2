//! What was found, for people and for JSON: how many rows of which tables, and how they hang together.

use serde::Serialize;

use super::graph::Graph;

/// Deeper branches are drawn no further to the right.
const DEEPEST_DRAWN: usize = 40;

/// Tables with the rows that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// All rows.
    pub rows: u64,
    /// The tables of the rows that it begins with, each followed by those that refer to it, and these by theirs: a list
    /// in which `depth` says what hangs below what.
    pub tables: Vec<Branch>,
    /// The tables of rows that those refer to.
    pub needed: Vec<Needed>,
    /// Foreign keys that were not followed, a sentence each.
    pub not_followed: Vec<String>,
}

/// A table below another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// The table, as people call it.
    pub table: String,
    /// How far below the table that it begins with.
    pub depth: usize,
    /// The columns by which it refers to the table above; none where it begins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Its rows; 0 where it stands again, and where all are taken, which nobody has counted.
    pub rows: u64,
    /// Whether all rows of the table are taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Whether it stands in another place with its rows: this is one more way to them, or a circle.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// A table of which rows are needed by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// The table, as people call it.
    pub table: String,
    /// Rows that came along because others refer to them.
    pub rows: u64,
}

/// What was found of each table and in each way.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Whether it begins with rows of the table.
    pub begins: Vec<bool>,
    /// Whether all rows of the table are taken, and were not counted.
    pub whole: Vec<bool>,
    /// Rows of each table that belong to it.
    pub down: Vec<u64>,
    /// Rows of each table that are needed besides.
    pub needed: Vec<u64>,
    /// Whether a row came in this way.
    pub used: Vec<bool>,
}

impl Counts {
    pub fn of(graph: &Graph) -> Counts {
        let tables = graph.nodes.len();
        Counts {
            begins: vec![false; tables],
            whole: vec![false; tables],
            down: vec![0; tables],
            needed: vec![0; tables],
            used: vec![false; graph.ways.len()],
        }
    }
}

impl Tree {
    pub(super) fn new(graph: &Graph, counts: &Counts) -> Tree {
        let is_there = |table: usize| counts.down[table] + counts.needed[table] > 0;
        let needed = graph.nodes.iter().zip(&counts.needed).filter(|(_, rows)| **rows > 0);
        let mut needed: Vec<Needed> =
            needed.map(|(node, rows)| Needed { table: node.shown.clone(), rows: *rows }).collect();
        needed.sort_by(|a, b| a.table.cmp(&b.table));
        Tree {
            rows: counts.down.iter().chain(&counts.needed).sum(),
            tables: branches(graph, counts),
            needed,
            not_followed: graph.unfollowed(is_there),
        }
    }

    /// The tree as lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        // For each depth, whether the branch that is drawn there is the last one: seen from below.
        let mut open: Vec<bool> = Vec::new();
        let mut drawn = Vec::with_capacity(self.tables.len());
        for branch in self.tables.iter().rev() {
            let depth = branch.depth.min(DEEPEST_DRAWN);
            open.resize(depth + 1, false);
            let rails = (1..depth).map(|above| if open[above] { "│  " } else { "   " }).collect::<String>();
            let joint = match (depth, open[depth]) {
                (0, _) => "",
                (_, true) => "├─ ",
                (_, false) => "└─ ",
            };
            open[depth] = true;
            let by =
                if branch.by.is_empty() { String::new() } else { format!(" by {}", branch.by.join(", ")) };
            let rows = match (branch.again, branch.all) {
                (true, _) => "see above or below".to_owned(),
                (_, true) => "all rows".to_owned(),
                _ => rows(branch.rows),
            };
            drawn.push(format!("{rails}{joint}{}{by}: {rows}", branch.table));
        }
        lines.extend(drawn.into_iter().rev());
        if !self.needed.is_empty() {
            lines.push("rows that these refer to".to_owned());
            let last = self.needed.len() - 1;
            lines.extend(self.needed.iter().enumerate().map(|(at, needed)| {
                let joint = if at == last { "└─ " } else { "├─ " };
                format!("{joint}{}: {}", needed.table, rows(needed.rows))
            }));
        }
        lines
    }
}

fn rows(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    format!("{} row{}", groups.join(","), if count == 1 { "" } else { "s" })
}

/// Each table with rows once, as near to the beginning as it can be, and once more for each other way to it.
fn branches(graph: &Graph, counts: &Counts) -> Vec<Branch> {
    let name = |table: &usize| graph.nodes[*table].shown.as_str();
    let mut first: Vec<usize> = (0..graph.nodes.len()).filter(|table| counts.begins[*table]).collect();
    first.sort_by(|a, b| name(a).cmp(name(b)));
    let mut placed = counts.begins.clone();
    // The ways down from each table, and whether it is the table's place or only one more way to it.
    let mut below: Vec<Vec<(usize, bool)>> = vec![Vec::new(); graph.nodes.len()];
    let mut row = first.clone();
    while !row.is_empty() {
        let mut next = Vec::new();
        for table in row {
            let mut ways: Vec<usize> =
                graph.down(table).iter().copied().filter(|way| counts.used[*way]).collect();
            let key = |way: &usize| (name(&graph.ways[*way].child), &graph.ways[*way].columns);
            ways.sort_by(|a, b| key(a).cmp(&key(b)));
            for way in ways {
                let child = graph.ways[way].child;
                let is_new = !std::mem::replace(&mut placed[child], true);
                below[table].push((way, is_new));
                if is_new {
                    next.push(child);
                }
            }
        }
        row = next;
    }
    let mut branches = Vec::new();
    let begins = |table: &usize| Step { table: *table, way: None, again: false, depth: 0 };
    let mut left: Vec<Step> = first.iter().rev().map(begins).collect();
    while let Some(Step { table, way, again, depth }) = left.pop() {
        let by = way.map(|way| graph.ways[way].columns.clone()).unwrap_or_default();
        let rows = if again { 0 } else { counts.down[table] };
        let all = counts.whole[table] && !again;
        branches.push(Branch { table: name(&table).to_owned(), depth, by, rows, all, again });
        if !again {
            left.extend(below[table].iter().rev().map(|(way, is_place)| {
                let (table, way) = (graph.ways[*way].child, Some(*way));
                Step { table, way, again: !is_place, depth: depth + 1 }
            }));
        }
    }
    branches
}

/// A branch that has not been written yet.
struct Step {
    table: usize,
    way: Option<usize>,
    again: bool,
    depth: usize,
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::graph;
    use super::*;

    #[test]
    fn each_table_has_one_place_and_other_ways_to_it_are_marked() {
        // t1 and t2 refer to t0, t2 also to t1, t1 to itself, t3 to t2, t2 back to t3; t4 is needed, t5 is left out.
        let mut graph = graph(6, &[(1, 0), (2, 0), (2, 1), (1, 1), (3, 2), (2, 3), (1, 4), (5, 0)]);
        graph.leave(vec![4], "one reason".into());
        graph.leave(vec![5], "no reason".into());
        let counts = Counts {
            whole: vec![false; 6],
            begins: vec![true, false, false, false, false, false],
            down: vec![1, 1200, 30, 4, 0, 0],
            needed: vec![0, 0, 0, 0, 2, 0],
            used: vec![true, true, true, true, true, true, false, false],
        };
        let tree = Tree::new(&graph, &counts);
        assert_eq!(tree.rows, 1237);
        let lines = [
            "t0: 1 row",
            "├─ t1 by c0: 1,200 rows",
            "│  ├─ t1 by c3: see above or below",
            "│  └─ t2 by c2: see above or below",
            "└─ t2 by c1: 30 rows",
            "   └─ t3 by c4: 4 rows",
            "      └─ t2 by c5: see above or below",
            "rows that these refer to",
            "└─ t4: 2 rows",
        ];
        assert_eq!(tree.lines(), lines);
        assert_eq!(tree.not_followed, ["one reason"]);
    }

    #[test]
    fn a_tree_of_any_depth_is_drawn() {
        let count = 2000;
        let keys: Vec<(usize, usize)> = (1..count).map(|n| (n, n - 1)).collect();
        let graph = graph(count, &keys);
        let mut counts = Counts::of(&graph);
        counts.begins[0] = true;
        (counts.down, counts.used) = (vec![1; count], vec![true; count - 1]);
        let lines = Tree::new(&graph, &counts).lines();
        assert_eq!(lines.len(), count);
        assert!(lines.iter().all(|line| line.len() < 4 * DEEPEST_DRAWN + 30));
    }
}
