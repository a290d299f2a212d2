//! Puts drafts in an order in which each stands behind all that it needs.
//!
//! What `pg_depend` knows makes a graph, with circles in it: a base type and its functions, a check that calls a
//! function that takes the table's rows, two views that read each other. They are broken as pg_dump breaks them: a
//! clause leaves its table's definition and stands alone, a type or view is declared first and completed later. What
//! needs something that is made after the rows (a view that groups by a primary key) is made after the rows itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::circles;
use super::draft::{Address, Body, Draft, Piece, class};
use crate::schema::{Kind, Object, Section};

/// That one object of the catalog depends on another.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// What depends.
    pub from: Address,
    /// What it depends on.
    pub to: Address,
}

/// An object in the graph.
struct Node {
    object: Object,
    /// How it can be declared first: the declaration, and the rest.
    shell: Option<(Vec<String>, Vec<String>)>,
    needs: Needs,
    /// For a clause: the object that it stands in.
    inside: Option<usize>,
}

/// What a node needs, in order, and whether a declaration of it needs that already.
#[derive(Clone, Default)]
struct Needs(Vec<(usize, bool)>);

impl Needs {
    fn add(&mut self, to: usize, declared: bool) {
        match self.0.binary_search_by_key(&to, |(n, _)| *n) {
            Ok(at) => self.0[at].1 |= declared,
            Err(at) => self.0.insert(at, (to, declared)),
        }
    }

    /// Removes it; whether a declaration needed it, none where it was not there.
    fn remove(&mut self, to: usize) -> Option<bool> {
        let at = self.0.binary_search_by_key(&to, |(n, _)| *n).ok()?;
        Some(self.0.remove(at).1)
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.0.iter().map(|(to, _)| *to)
    }
}

/// The graph while circles are being broken.
struct Graph {
    nodes: Vec<Node>,
    places: HashMap<Address, usize>,
    /// Nodes, and others that they stand behind although they do not need them.
    behind: Vec<(usize, Address)>,
}

/// The objects of all `drafts`, each behind those that it needs. `alias` leads from what comes with something else
/// (an extension's members) to that.
pub fn order(drafts: Vec<Draft>, edges: &[Edge], alias: &HashMap<Address, Address>) -> Vec<Object> {
    let (mut graph, bodies) = Graph::new(drafts, edges, alias);
    graph.settle_clauses(bodies);
    graph.move_after_rows();
    while graph.break_a_circle() {}
    graph.into_order()
}

/// A definition with clauses.
struct Definition {
    /// Its node.
    own: usize,
    pieces: Vec<Piece>,
    clauses: Vec<Place>,
}

/// A clause of a definition, see [`super::draft::Clause`].
struct Place {
    /// Its node, which is what it is alone.
    node: usize,
    place: usize,
    text: String,
    always_inside: bool,
}

impl Graph {
    fn new(
        drafts: Vec<Draft>,
        edges: &[Edge],
        alias: &HashMap<Address, Address>,
    ) -> (Graph, Vec<Definition>) {
        let count = 2 * drafts.len();
        let mut graph = Graph {
            nodes: Vec::with_capacity(count),
            places: HashMap::with_capacity(2 * count),
            behind: Vec::new(),
        };
        let mut bodies = Vec::new();
        let mut wanted = Vec::new();
        for draft in drafts {
            let own = graph.add(draft.object, draft.at);
            wanted.extend(draft.needs.into_iter().map(|to| (own, to)));
            graph.behind.extend(draft.behind.into_iter().map(|to| (own, to)));
            for part in draft.parts {
                graph.places.entry(part.at).or_insert(own);
            }
            match draft.body {
                Body::Whole => {}
                Body::WithShell { declare, complete } => graph.nodes[own].shell = Some((declare, complete)),
                Body::WithClauses { pieces, clauses } => {
                    let clauses = clauses
                        .into_iter()
                        .map(|clause| {
                            let node = graph.add(clause.alone, clause.at);
                            graph.need(node, own, true);
                            Place {
                                node,
                                place: clause.place,
                                text: clause.text,
                                always_inside: clause.always_inside,
                            }
                        })
                        .collect();
                    bodies.push(Definition { own, pieces, clauses });
                }
            }
        }
        let place = |graph: &Graph, at: Address| {
            let at = alias.get(&at).copied().unwrap_or(at);
            graph.places.get(&at).copied()
        };
        for (from, to) in wanted {
            if let Some(to) = place(&graph, to) {
                graph.need(from, to, true);
            }
        }
        for edge in edges {
            // What an extension's members need is the extension's own business, and less still needs it what a user made
            // of its tables, such as a publication's: what comes with something else only has things that need it.
            let from = graph.places.get(&edge.from).copied();
            let (Some(from), Some(to)) = (from, place(&graph, edge.to)) else { continue };
            // A view's columns are the view's, its query is its rule's; a type's declaration has its schema only.
            let declared = match graph.nodes[from].object.kind {
                Kind::View => edge.from.class == class::CLASS,
                _ => graph.nodes[to].object.kind == Kind::Schema,
            };
            graph.need(from, to, declared);
        }
        (graph, bodies)
    }

    fn add(&mut self, object: Object, at: Address) -> usize {
        self.nodes.push(Node { object, shell: None, needs: Needs::default(), inside: None });
        self.places.insert(at, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn need(&mut self, from: usize, to: usize, declared: bool) {
        if from != to {
            self.nodes[from].needs.add(to, declared);
        }
    }

    /// Decides for each clause whether it can stand inside of its definition, and puts the definitions together.
    ///
    /// One after the other, because two clauses that each could may make a circle together.
    fn settle_clauses(&mut self, bodies: Vec<Definition>) {
        for Definition { own, pieces, clauses } in bodies {
            let mut texts = HashMap::new();
            for clause in clauses {
                let node = clause.node;
                let beyond: Vec<usize> = self.nodes[node].needs.iter().filter(|to| *to != own).collect();
                if !clause.always_inside && self.leads_astray(&beyond, own) {
                    continue;
                }
                for to in beyond {
                    self.need(own, to, true);
                }
                self.nodes[node].inside = Some(own);
                let comments = std::mem::take(&mut self.nodes[node].object.comments);
                self.nodes[own].object.comments.extend(comments);
                texts.insert(clause.place, clause.text);
            }
            if let Some(first) = self.nodes[own].object.create.first_mut() {
                *first = render(&pieces, &texts);
            }
        }
        let inside: Vec<Option<usize>> = self.nodes.iter().map(|n| n.inside).collect();
        for (own, node) in self.nodes.iter_mut().enumerate() {
            let merged: Vec<usize> = node.needs.iter().filter(|to| inside[*to].is_some()).collect();
            for to in merged {
                let declared = node.needs.remove(to).unwrap_or_default();
                if let Some(holder) = inside[to].filter(|holder| *holder != own) {
                    node.needs.add(holder, declared);
                }
            }
        }
        for place in self.places.values_mut() {
            *place = inside[*place].unwrap_or(*place);
        }
    }

    /// Whether something of `from` needs, directly or not, the node `own` or something that is made after the rows.
    fn leads_astray(&self, from: &[usize], own: usize) -> bool {
        let mut seen: HashSet<usize> = HashSet::new();
        let mut next = from.to_vec();
        while let Some(at) = next.pop() {
            let node = &self.nodes[at];
            if at == own || node.inside == Some(own) || node.object.section == Section::PostData {
                return true;
            }
            if seen.insert(at) {
                next.extend(node.needs.iter().chain(node.inside));
            }
        }
        false
    }

    /// Moves behind the rows what needs something that is made there. A view is declared before and completed after, so
    /// that what needs the view can stay where it is.
    fn move_after_rows(&mut self) {
        let mut behind: Vec<usize> = self.live().filter(|n| self.is_post(*n)).collect();
        let mut needed_by: HashMap<usize, Vec<usize>> = HashMap::new();
        for from in self.live() {
            for to in self.nodes[from].needs.iter() {
                needed_by.entry(to).or_default().push(from);
            }
        }
        while let Some(post) = behind.pop() {
            for from in needed_by.remove(&post).unwrap_or_default() {
                if self.is_post(from) {
                    continue;
                }
                let node = &mut self.nodes[from];
                match node.object.kind {
                    // Rows need their tables; nothing of a table's own definition can need what comes after them.
                    Kind::Table | Kind::ForeignTable | Kind::Sequence => {
                        node.needs.remove(post);
                    }
                    _ if node.shell.is_some() => {
                        let body = self.split(from);
                        self.nodes[body].object.section = Section::PostData;
                    }
                    _ => {
                        node.object.section = Section::PostData;
                        behind.push(from);
                    }
                }
            }
        }
    }

    /// Splits a node that can be declared first. Everybody else goes on needing the declaration only; returns the node
    /// that completes it.
    fn split(&mut self, at: usize) -> usize {
        let node = &mut self.nodes[at];
        let Some((declare, complete)) = node.shell.take() else { return at };
        let mut object = node.object.clone();
        object.create = complete;
        let needs = std::mem::take(&mut node.needs);
        node.needs = Needs(needs.0.iter().filter(|(_, declared)| *declared).copied().collect());
        let is_type = node.object.kind != Kind::View;
        let replacing: Vec<String> =
            declare.iter().map(|sql| sql.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)).collect();
        node.object = Object {
            identity: format!("SHELL OF {}", object.identity),
            create: declare,
            drop: if is_type { Vec::new() } else { object.drop.clone() },
            comments: Vec::new(),
            privileges: Vec::new(),
            owner: None,
            kind: if is_type { Kind::ShellType } else { Kind::View },
            ..object.clone()
        };
        if !is_type {
            // Goes back to the declaration, so that nothing it reads is in the way of being removed.
            object.drop = replacing;
        }
        let mut body = Node { object, shell: None, needs, inside: None };
        body.needs.add(at, true);
        self.nodes.push(body);
        self.nodes.len() - 1
    }

    /// Breaks one circle, if there is any left.
    fn break_a_circle(&mut self) -> bool {
        let live: Vec<usize> = self.live().collect();
        let circles = circles::find(self.nodes.len(), &live, |n| self.nodes[n].needs.iter());
        let any = !circles.is_empty();
        for circle in circles {
            let members: HashSet<usize> = circle.iter().copied().collect();
            let can = |kind: fn(Kind) -> bool| {
                let can = circle.iter().filter(|n| self.nodes[**n].shell.is_some());
                can.copied().filter(|n| kind(self.nodes[*n].object.kind)).min_by_key(|n| self.key(*n))
            };
            match can(|k| k != Kind::View).or_else(|| can(|k| k == Kind::View)) {
                Some(at) => {
                    let body = self.split(at);
                    let is_type = self.nodes[at].object.kind == Kind::ShellType;
                    if is_type {
                        // Outside of the circle a type is needed whole: a column cannot have a mere declaration.
                        for from in 0..body {
                            if from != at
                                && !members.contains(&from)
                                && self.nodes[from].needs.remove(at).is_some()
                            {
                                self.nodes[from].needs.add(body, true);
                            }
                        }
                    }
                }
                None => {
                    // pg_dump, too, then gives up one dependency and leaves the rest to the server.
                    if let Some(first) = circle.iter().copied().min_by_key(|n| self.key(*n)) {
                        self.nodes[first].needs.0.retain(|(to, _)| !members.contains(to));
                    }
                }
            }
        }
        any
    }

    /// Nodes that are not inside of others.
    fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].inside.is_none())
    }

    fn is_post(&self, node: usize) -> bool {
        self.nodes[node].object.section == Section::PostData
    }

    /// By what objects that do not need each other are sorted: always the same, so that the same schema gives the same
    /// archive.
    fn key(&self, node: usize) -> (Section, Kind, &Option<String>, &str, &str) {
        let object = &self.nodes[node].object;
        (object.section, object.kind, &object.schema, &object.name, &object.identity)
    }

    /// Of what is only better there first, as much as leaves no circle.
    fn preferred(&self) -> Vec<(usize, usize)> {
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for (from, to) in &self.behind {
            let Some(&to) = self.places.get(to) else { continue };
            let mut seen = HashSet::new();
            let mut next = vec![to];
            while let Some(at) = next.pop() {
                if seen.insert(at) {
                    next.extend(self.nodes[at].needs.iter());
                    next.extend(taken.iter().filter(|(behind, _)| *behind == at).map(|(_, first)| first));
                }
            }
            if !seen.contains(from) {
                taken.push((*from, to));
            }
        }
        taken
    }

    fn into_order(mut self) -> Vec<Object> {
        let preferred = self.preferred();
        let mut waiting: Vec<usize> = self.nodes.iter().map(|n| n.needs.iter().len()).collect();
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let live: Vec<usize> = self.live().collect();
        for from in &live {
            for to in self.nodes[*from].needs.iter() {
                needed_by[to].push(*from);
            }
        }
        for (from, to) in preferred {
            waiting[from] += 1;
            needed_by[to].push(from);
        }
        let mut sorted = live.clone();
        sorted.sort_by(|a, b| self.key(*a).cmp(&self.key(*b)));
        let mut rank = vec![0_usize; self.nodes.len()];
        for (position, node) in sorted.iter().enumerate() {
            rank[*node] = position;
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            live.iter().filter(|n| waiting[**n] == 0).map(|n| Reverse(rank[*n])).collect();
        let mut position = vec![0_u32; self.nodes.len()];
        let mut order = Vec::with_capacity(live.len());
        while let Some(Reverse(next)) = ready.pop() {
            let node = sorted[next];
            position[node] = order.len() as u32;
            order.push(node);
            for from in std::mem::take(&mut needed_by[node]) {
                waiting[from] -= 1;
                if waiting[from] == 0 {
                    ready.push(Reverse(rank[from]));
                }
            }
        }
        order
            .into_iter()
            .map(|node| {
                let node = &mut self.nodes[node];
                let mut object = std::mem::replace(&mut node.object, Object::new(Kind::Other, "", None, ""));
                object.needs = node.needs.iter().map(|to| position[to]).collect();
                object.needs.sort_unstable();
                object
            })
            .collect()
    }
}

/// A definition with those clauses that stand inside.
fn render(pieces: &[Piece], texts: &HashMap<usize, String>) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(place) => texts.get(place).cloned().unwrap_or_default(),
            Piece::List(items) => {
                let items: Vec<String> =
                    items.iter().map(|i| render(i, texts)).filter(|i| !i.is_empty()).collect();
                match items.is_empty() {
                    true => "(\n)".to_owned(),
                    false => format!("(\n    {}\n)", items.join(",\n    ")),
                }
            }
        })
        .collect()
}
