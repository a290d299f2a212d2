//! A table's definition: `CREATE TABLE` in pieces, and what only `ALTER TABLE` can say.

use super::catalog::{Column, Constraint, Default, Table};
use super::inheritance::{Later, NotNull, Say};
use crate::postgres::ddl::draft::{Body, Clause, Draft, Part, Piece, at, class, of_table, post_data};
use crate::schema::{Kind, Object};

impl Table {
    /// `TABLE` or `FOREIGN TABLE`: what follows `ALTER`, `CREATE` and `DROP`.
    pub fn word(&self) -> &'static str {
        if self.kind == 'f' { "FOREIGN TABLE" } else { "TABLE" }
    }

    /// As constraints and defaults of this table name it.
    fn of_it(&self, kind: Kind, identity: String, name: &str) -> Object {
        of_table(kind, identity, name, (&self.schema, &self.name))
    }
}

/// The draft of the table and, behind it, those of what could not stand in it. `later` are the constraints that come
/// with one that a parent only gets after the rows.
pub fn drafts(table: &Table, say: &[Say], parents: &[&str], later: &[Later<'_>]) -> Vec<Draft> {
    let kind = if table.kind == 'f' { Kind::ForeignTable } else { Kind::Table };
    let identity = format!("{} {}", table.word(), table.qualified);
    let mut object = Object::new(kind, identity.clone(), Some(&table.schema), table.name.clone());
    object.owner = Some(table.owner.clone());
    object.drop = vec![format!("DROP {identity}")];
    object.tablespace = table.tablespace.clone();
    if table.kind != 'p' {
        object.access_method = table.access_method.clone().filter(|name| name != "heap");
    }
    let mut draft = Draft::new(at(class::CLASS, table.oid), object);
    for (class, oid) in [class::TYPE, class::TYPE, class::CLASS].into_iter().zip(table.comes_with) {
        if oid != 0 {
            draft = draft.part(at(class, oid));
        }
    }

    let mut apart = Vec::new();
    let mut places = Places::default();
    for (column, say) in table.columns.iter().zip(say) {
        places.column(table, column, say, &mut draft.parts, &mut apart);
    }
    for check in table.checks.iter().filter(|check| later.iter().all(|l| l.constraint.oid != check.oid)) {
        places.check(table, check, &mut draft.parts, &mut apart);
    }
    apart.extend(table.unproven_not_nulls.iter().filter(|c| c.is_local).map(|c| constraint_apart(table, c)));
    apart.extend(later.iter().map(|later| constraint_of_parent(table, later)));

    draft.object.create = vec![String::new()];
    further(table, say, &mut draft.object.create);
    draft.body = Body::WithClauses { pieces: pieces(table, places.items, parents), clauses: places.clauses };
    let mut all = vec![draft];
    all.append(&mut apart);
    all
}

/// The columns and constraints inside of the parentheses.
#[derive(Default)]
struct Places {
    items: Vec<Vec<Piece>>,
    clauses: Vec<Clause>,
}

impl Places {
    fn clause(&mut self, class_: u32, oid: u32, text: String, alone: Object, always_inside: bool) -> Piece {
        let place = self.clauses.len();
        self.clauses.push(Clause { at: at(class_, oid), place, text, alone, always_inside });
        Piece::Place(place)
    }

    fn column(
        &mut self,
        table: &Table,
        column: &Column,
        say: &Say,
        parts: &mut Vec<Part>,
        apart: &mut Vec<Draft>,
    ) {
        if let Some(constraint) = column.not_null.as_ref().filter(|c| c.is_valid) {
            parts.push(Part {
                at: at(class::CONSTRAINT, constraint.oid),
                identity: say.not_null_by_name.then(|| constraint_identity(table, constraint)),
            });
        }
        if let Some(default) = &column.default {
            if !say.default || (!say.column && column.generated != ' ') {
                parts.push(Part { at: at(class::ATTRDEF, default.oid), identity: None });
            } else if !say.column {
                apart
                    .push(Draft::new(at(class::ATTRDEF, default.oid), default_alone(table, column, default)));
            }
        }
        if let (Some(constraint), true, false) = (&column.not_null, say.not_null.is_some(), say.column) {
            // Since 18 it has a name, and only in here it can have another than the parent's.
            let words = no_inherit_words(constraint.no_inherit);
            let text = format!("CONSTRAINT {} NOT NULL {}{words}", constraint.quoted, column.quoted);
            self.items.push(vec![Piece::Text(text)]);
        }
        let default = column.default.as_ref().filter(|_| say.default);
        let typed = table.of_type.is_some();
        if !say.column || typed && default.is_none() && say.not_null.is_none() {
            return;
        }
        let mut item = vec![Piece::Text(column.quoted.clone())];
        if !typed {
            item.push(Piece::Text(format!(" {}", column.type_name)));
        }
        if let Some(default) = default {
            let expression = &default.expression;
            let (text, always_inside) = match column.generated {
                's' => (format!(" GENERATED ALWAYS AS ({expression}) STORED"), true),
                'v' => (format!(" GENERATED ALWAYS AS ({expression})"), true),
                _ => (format!(" DEFAULT {expression}"), false),
            };
            let alone = default_alone(table, column, default);
            item.push(self.clause(class::ATTRDEF, default.oid, text, alone, always_inside));
        } else if say.default_null {
            item.push(Piece::Text(" DEFAULT NULL".into()));
        }
        if let Some(NotNull { name, no_inherit }) = &say.not_null {
            let name = name.as_ref().map(|n| format!(" CONSTRAINT {n}")).unwrap_or_default();
            item.push(Piece::Text(format!("{name} NOT NULL{}", no_inherit_words(*no_inherit))));
        }
        if let Some(collation) = &column.collation {
            item.push(Piece::Text(format!(" COLLATE {collation}")));
        }
        self.items.push(item);
    }

    fn check(&mut self, table: &Table, check: &Constraint, parts: &mut Vec<Part>, apart: &mut Vec<Draft>) {
        if !check.is_valid {
            // One that is inherited comes with the parent's, which is not there yet.
            if check.is_local {
                apart.push(constraint_apart(table, check));
            }
            return;
        }
        if !check.is_local && !table.is_partition {
            let identity = Some(constraint_identity(table, check));
            parts.push(Part { at: at(class::CONSTRAINT, check.oid), identity });
            return;
        }
        let definition = check.definition.as_deref().unwrap_or_default();
        let text = format!("CONSTRAINT {} {definition}", check.quoted);
        let piece = self.clause(class::CONSTRAINT, check.oid, text, constraint_alone(table, check), false);
        self.items.push(vec![piece]);
    }
}

fn no_inherit_words(no_inherit: bool) -> &'static str {
    if no_inherit { " NO INHERIT" } else { "" }
}

fn pieces(table: &Table, mut items: Vec<Vec<Piece>>, parents: &[&str]) -> Vec<Piece> {
    let unlogged = if table.unlogged { "UNLOGGED " } else { "" };
    let mut head = format!("CREATE {unlogged}{} {}", table.word(), table.qualified);
    if let Some(of_type) = &table.of_type {
        head += &format!(" OF {of_type}");
        // There may be no parentheses with nothing in them here; a column without options changes nothing.
        let only_checks = items.iter().all(|item| matches!(item[..], [Piece::Place(_)]));
        if let Some(column) = table.columns.first().filter(|_| only_checks && !items.is_empty()) {
            items.insert(0, vec![Piece::Text(column.quoted.clone())]);
        }
    }
    let mut pieces = Vec::new();
    if table.of_type.is_none() || !items.is_empty() {
        head.push(' ');
        pieces.push(Piece::Text(head));
        pieces.push(Piece::List(items));
    } else {
        pieces.push(Piece::Text(head));
    }
    let mut tail = String::new();
    if !parents.is_empty() && !table.is_partition {
        tail += &format!("\nINHERITS ({})", parents.join(", "));
    }
    if let Some(key) = &table.partition_key {
        tail += &format!("\nPARTITION BY {key}");
    }
    if let Some(server) = &table.server {
        tail += &format!("\nSERVER {server}");
    }
    let options: Vec<&str> =
        [&table.options, &table.toast_options].into_iter().filter_map(|o| o.as_deref()).collect();
    if !options.is_empty() {
        tail += &format!("\nWITH ({})", options.join(", "));
    }
    if let Some(options) = &table.server_options {
        tail += &format!("\nOPTIONS (\n    {options}\n)");
    }
    pieces.push(Piece::Text(tail));
    pieces
}

/// What has no place in the definition.
fn further(table: &Table, say: &[Say], statements: &mut Vec<String>) {
    let alter = format!("ALTER {} ONLY {}", table.word(), table.qualified);
    for (column, say) in table.columns.iter().zip(say) {
        let change = format!("{alter} ALTER COLUMN {}", column.quoted);
        if !say.column && !table.is_partition {
            if say.not_null.is_some() && column.not_null.is_none() {
                statements.push(format!("{change} SET NOT NULL"));
            }
            let expression = column.default.as_ref().filter(|_| say.default && column.generated != ' ');
            if let Some(Default { expression, .. }) = expression {
                statements.push(format!("{change} SET EXPRESSION AS ({expression})"));
            }
            if say.default_null {
                statements.push(format!("{change} SET DEFAULT NULL"));
            }
        }
        if say.null {
            statements.push(format!("{change} DROP NOT NULL"));
        }
        if column.statistics >= 0 {
            statements.push(format!("{change} SET STATISTICS {}", column.statistics));
        }
        let storage = match column.storage {
            own if own == column.type_storage && !say.storage => None,
            'p' => Some("PLAIN"),
            'e' => Some("EXTERNAL"),
            'm' => Some("MAIN"),
            'x' => Some("EXTENDED"),
            _ => None,
        };
        if let Some(storage) = storage {
            statements.push(format!("{change} SET STORAGE {storage}"));
        }
        let compression = match column.compression {
            'p' => Some("pglz"),
            'l' => Some("lz4"),
            _ => say.compression.then_some("default"),
        };
        if let Some(compression) = compression {
            statements.push(format!("{change} SET COMPRESSION {compression}"));
        }
        if let Some(options) = &column.options {
            statements.push(format!("{change} SET ({options})"));
        }
        if let Some(options) = column.server_options.as_ref().filter(|_| table.kind == 'f') {
            statements.push(format!("{change} OPTIONS (\n    {options}\n)"));
        }
    }
    match table.replica_identity {
        // A foreign table has none, and says 'n'.
        _ if table.kind == 'f' => {}
        'n' => statements.push(format!("{alter} REPLICA IDENTITY NOTHING")),
        'f' => statements.push(format!("{alter} REPLICA IDENTITY FULL")),
        _ => {}
    }
    // A partitioned table has no storage; its method is a wish for partitions, and no setting gives it one.
    if let Some(method) = table.access_method.as_ref().filter(|_| table.kind == 'p') {
        let method = crate::postgres::quote::ident(method);
        statements.push(format!("ALTER TABLE {} SET ACCESS METHOD {method}", table.qualified));
    }
}

/// A default on its own.
fn default_alone(table: &Table, column: &Column, default: &Default) -> Object {
    let identity = format!("DEFAULT {}.{}", table.qualified, column.quoted);
    let mut object = table.of_it(Kind::Default, identity, &column.name);
    // There is no way to give an expression to a generated column that has none.
    if column.generated == ' ' {
        let change =
            format!("ALTER {} ONLY {} ALTER COLUMN {}", table.word(), table.qualified, column.quoted);
        object.create = vec![format!("{change} SET DEFAULT {}", default.expression)];
        object.drop = vec![format!("{change} DROP DEFAULT")];
    }
    object
}

fn constraint_identity(table: &Table, constraint: &Constraint) -> String {
    format!("CONSTRAINT {} ON {}", constraint.quoted, table.qualified)
}

/// A check or not-null constraint on its own. Without ONLY: it goes down to the children.
fn constraint_alone(table: &Table, constraint: &Constraint) -> Object {
    let mut object = table.of_it(Kind::Constraint, constraint_identity(table, constraint), &constraint.name);
    let alter = format!("ALTER {} {}", table.word(), table.qualified);
    let definition = constraint.definition.as_deref().unwrap_or_default();
    object.create = vec![format!("{alter}\n    ADD CONSTRAINT {} {definition}", constraint.quoted)];
    object.drop = vec![format!("{alter} DROP CONSTRAINT {}", constraint.quoted)];
    object
}

/// A constraint that comes with a parent's, after the rows. It may have been validated here alone.
fn constraint_of_parent(table: &Table, later: &Later<'_>) -> Draft {
    let Later { constraint, of } = later;
    let mut object = constraint_alone(table, constraint);
    object.drop.clear();
    object.create = match constraint.is_valid {
        true => {
            vec![format!(
                "ALTER {} {}\n    VALIDATE CONSTRAINT {}",
                table.word(),
                table.qualified,
                constraint.quoted
            )]
        }
        false => Vec::new(),
    };
    let mut draft = Draft::new(at(class::CONSTRAINT, constraint.oid), post_data(object));
    draft.needs = vec![at(class::CONSTRAINT, *of), at(class::CLASS, table.oid)];
    if table.is_partition {
        draft.needs.push(at(class::ATTACHMENT, table.oid));
    }
    draft
}

/// A constraint that rows may break: it comes after them.
fn constraint_apart(table: &Table, constraint: &Constraint) -> Draft {
    Draft::new(at(class::CONSTRAINT, constraint.oid), post_data(constraint_alone(table, constraint)))
}
