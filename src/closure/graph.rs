//! Tables and the foreign keys between them, in the order in which rows are looked for.

/// A table, or a tree of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub schema: String,
    pub name: String,
    /// As people call it.
    pub shown: String,
}

/// A foreign key that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The table that refers.
    pub child: usize,
    /// The table that it refers to.
    pub parent: usize,
    /// Its name.
    pub key: String,
    /// The columns that refer.
    pub columns: Vec<String>,
    /// Those that they refer to, in the same order.
    pub referred: Vec<String>,
}

/// Tables and the ways between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub ways: Vec<Way>,
    /// For each table, the ways in which others refer to it.
    down: Vec<Vec<usize>>,
    /// For each table, the ways in which it refers to others.
    up: Vec<Vec<usize>>,
    /// Foreign keys that are not followed: a table on either side of it, and why.
    unfollowed: Vec<(Vec<usize>, String)>,
}

impl Graph {
    pub fn new(nodes: Vec<Node>) -> Graph {
        let none = vec![Vec::new(); nodes.len()];
        Graph { nodes, down: none.clone(), up: none, ..Graph::default() }
    }

    /// Adds a way, unless there is one by the same columns: partitions have the keys of their table, too. Returns its number
    /// if it is new.
    pub fn add(&mut self, way: Way) -> Option<usize> {
        let same = |known: &usize| {
            let known = &self.ways[*known];
            known.parent == way.parent && is_same_pairing(known, &way)
        };
        if self.up[way.child].iter().any(same) {
            return None;
        }
        let number = self.ways.len();
        self.down[way.parent].push(number);
        self.up[way.child].push(number);
        self.ways.push(way);
        Some(number)
    }

    /// Notes that a foreign key between these tables is not followed.
    pub fn leave(&mut self, tables: Vec<usize>, why: String) {
        self.unfollowed.push((tables, why));
    }

    /// The ways in which others refer to a table.
    pub fn down(&self, table: usize) -> &[usize] {
        &self.down[table]
    }

    /// The ways in which a table refers to others.
    pub fn up(&self, table: usize) -> &[usize] {
        &self.up[table]
    }

    /// What is said of the foreign keys that were not followed, as far as rows of `tables` could be concerned.
    pub fn unfollowed(&self, tables: impl Fn(usize) -> bool) -> Vec<String> {
        let concerned = self.unfollowed.iter().filter(|(of, _)| of.iter().any(|table| tables(*table)));
        let mut said: Vec<String> = concerned.map(|(_, why)| why.clone()).collect();
        said.sort();
        said.dedup();
        said
    }

    /// The tables in parts that refer to each other in a circle, or are a single one, such that whoever refers to another
    /// comes behind it. (Tarjan's algorithm, without recursion: an archive may name any number of tables.)
    pub fn parents_first(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let count = self.nodes.len();
        let (mut index, mut low) = (vec![UNSEEN; count], vec![0; count]);
        let (mut on_stack, mut stack, mut parts) = (vec![false; count], Vec::new(), Vec::new());
        let mut next = 0;
        for start in 0..count {
            if index[start] != UNSEEN {
                continue;
            }
            // A table, and how many of the ways up from it have been gone. Parents are so finished first.
            let mut path = vec![(start, 0)];
            while let Some((table, gone)) = path.last_mut() {
                let (table, at) = (*table, *gone);
                *gone += 1;
                if at == 0 {
                    (index[table], low[table]) = (next, next);
                    next += 1;
                    stack.push(table);
                    on_stack[table] = true;
                }
                if let Some(way) = self.up[table].get(at) {
                    let above = self.ways[*way].parent;
                    if index[above] == UNSEEN {
                        path.push((above, 0));
                    } else if on_stack[above] {
                        low[table] = low[table].min(index[above]);
                    }
                    continue;
                }
                path.pop();
                if let Some((below, _)) = path.last() {
                    low[*below] = low[*below].min(low[table]);
                }
                if low[table] == index[table] {
                    let mut part = Vec::new();
                    while let Some(member) = stack.pop() {
                        on_stack[member] = false;
                        part.push(member);
                        if member == table {
                            break;
                        }
                    }
                    part.sort_unstable();
                    parts.push(part);
                }
            }
        }
        parts
    }
}

/// Whether two keys pair the same columns, in whatever order.
fn is_same_pairing(one: &Way, other: &Way) -> bool {
    let pairs = |way: &Way| {
        let mut pairs: Vec<(String, String)> =
            way.columns.iter().cloned().zip(way.referred.iter().cloned()).collect();
        pairs.sort();
        pairs
    };
    one.columns.len() == other.columns.len() && pairs(one) == pairs(other)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// So many tables t0, t1, … with these foreign keys, child and parent.
    pub fn graph(count: usize, keys: &[(usize, usize)]) -> Graph {
        let node = |n| {
            let name = format!("t{n}");
            Node { schema: "public".into(), name: name.clone(), shown: name }
        };
        let mut graph = Graph::new((0..count).map(node).collect());
        for (number, (child, parent)) in keys.iter().enumerate() {
            let columns = vec![format!("c{number}")];
            let (child, parent, key) = (*child, *parent, format!("k{number}"));
            graph.add(Way { child, parent, key, columns, referred: vec!["id".into()] });
        }
        graph
    }

    #[test]
    fn parents_come_before_children_and_circles_together() {
        let parts = graph(6, &[(1, 0), (2, 1), (1, 2), (3, 2), (3, 3), (4, 0), (3, 4)]).parents_first();
        let place = |table| parts.iter().position(|part| part.contains(&table));
        assert_eq!(parts.len(), 5);
        assert!(parts.contains(&vec![1, 2]) && parts.contains(&vec![5]));
        assert!(place(0) < place(1) && place(1) < place(3) && place(0) < place(4) && place(4) < place(3));
    }

    #[test]
    fn a_chain_of_any_length_needs_no_stack() {
        let count = 100_000;
        let keys: Vec<(usize, usize)> = (1..count).map(|n| (n, n - 1)).collect();
        let parts = graph(count, &keys).parents_first();
        assert_eq!((parts.len(), &parts[0], &parts[count - 1]), (count, &vec![0], &vec![count - 1]));
    }

    #[test]
    fn a_key_that_pairs_the_same_columns_is_there_once() {
        let mut graph = graph(2, &[(1, 0)]);
        let way = |columns: &[&str], referred: &[&str]| Way {
            child: 1,
            parent: 0,
            key: "k".into(),
            columns: columns.iter().map(|c| (*c).into()).collect(),
            referred: referred.iter().map(|c| (*c).into()).collect(),
        };
        assert_eq!(graph.add(way(&["c0"], &["id"])), None);
        assert_eq!(graph.add(way(&["a", "b"], &["x", "y"])), Some(1));
        assert_eq!(graph.add(way(&["b", "a"], &["y", "x"])), None);
        assert_eq!(graph.add(way(&["a", "b"], &["y", "x"])), Some(2));
        assert_eq!((graph.down(0), graph.up(1)), (&[0, 1, 2][..], &[0, 1, 2][..]));
    }
}
