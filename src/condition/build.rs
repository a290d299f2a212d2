//! An expression → a condition on the rows of a table: names become columns, literals values of the type that the server would
//! read them as (manual, chapter 10), and everything else is refused.

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Ident, ObjectName, ObjectNamePart, UnaryOperator,
    Value as Literal,
};

use super::kind::{Kind, Sense, Side, Types, of_cast, quoted};
use super::like::Pattern;
use super::syntax::is_reserved;
use super::term::{Cell, Term};
use super::value::{self, Value};
use super::{Node, Refusal, Relation};
use crate::archive::model::Table;

/// What conditions are built for.
pub struct Builder<'a> {
    pub table: &'a Table,
    pub types: Types<'a>,
    /// Which columns may be named.
    pub is_taken: &'a dyn Fn(&str) -> bool,
}

/// What can be compared.
struct Operand {
    what: What,
    /// Whether `COLLATE "C"` stands behind it.
    is_bytewise: bool,
}

enum What {
    Null,
    /// A string in quotes, which is of the type that is needed.
    String(String),
    Typed(Kind, String),
    Column(Cell, Kind),
    Truth(Node),
}

/// A string in quotes that meets no type is a text.
const STRING: Kind = Kind::Text;

fn beyond<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Beyond(what.into()))
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Wrong(what.into()))
}

impl Builder<'_> {
    /// Builds what is true or false.
    pub fn condition(&self, expr: &Expr) -> Result<Node, Refusal> {
        let negated = |node: Node, negated: bool| if negated { Node::Not(Box::new(node)) } else { node };
        Ok(match expr {
            Expr::Nested(inner) => self.condition(inner)?,
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Node::Not(Box::new(self.condition(expr)?)),
            Expr::BinaryOp { op: BinaryOperator::And, .. } => {
                Node::All(self.chain(expr, &BinaryOperator::And)?)
            }
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => {
                Node::Any(self.chain(expr, &BinaryOperator::Or)?)
            }
            Expr::BinaryOp { left, op, right } => {
                let Some(relation) = relation(op) else {
                    return beyond(format!("the operator {}", quoted(&op.to_string())));
                };
                self.compare(&self.operand(left)?, relation, &self.operand(right)?)?
            }
            Expr::IsNull(inner) => self.is_null(inner)?,
            Expr::IsNotNull(inner) => negated(self.is_null(inner)?, true),
            Expr::IsTrue(inner) => self.is(inner, Some(true))?,
            Expr::IsNotTrue(inner) => negated(self.is(inner, Some(true))?, true),
            Expr::IsFalse(inner) => self.is(inner, Some(false))?,
            Expr::IsNotFalse(inner) => negated(self.is(inner, Some(false))?, true),
            Expr::IsUnknown(inner) => self.is(inner, None)?,
            Expr::IsNotUnknown(inner) => negated(self.is(inner, None)?, true),
            Expr::IsDistinctFrom(one, other) => self.distinct(one, other)?,
            Expr::IsNotDistinctFrom(one, other) => negated(self.distinct(one, other)?, true),
            Expr::InList { expr, list, negated: is_not } => negated(self.among(expr, list)?, *is_not),
            Expr::Between { expr, negated: is_not, low, high } => {
                negated(self.between(expr, low, high)?, *is_not)
            }
            Expr::Like { negated: is_not, any: false, expr, pattern, escape_char } => {
                negated(self.like(expr, pattern, escape_char.as_deref(), false)?, *is_not)
            }
            Expr::ILike { negated: is_not, any: false, expr, pattern, escape_char } => {
                negated(self.like(expr, pattern, escape_char.as_deref(), true)?, *is_not)
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => {
                match self.operand(expr)?.what {
                    What::Column(cell, Kind::Boolean) => Node::Column(cell),
                    What::Truth(node) => node,
                    What::Null => Node::Known(None),
                    _ => return wrong(format!("{} is neither true nor false", shown(expr))),
                }
            }
            other => return beyond(described(other)),
        })
    }

    /// The parts of `a AND b AND c`, however many: they lean to the left.
    fn chain(&self, expr: &Expr, operator: &BinaryOperator) -> Result<Vec<Node>, Refusal> {
        let mut parts = Vec::new();
        let mut rest = expr;
        while let Expr::BinaryOp { left, op, right } = rest {
            if op != operator {
                break;
            }
            parts.push(self.condition(right)?);
            rest = left;
        }
        parts.push(self.condition(rest)?);
        parts.reverse();
        Ok(parts)
    }

    /// What may stand beside an operator: what could be bound in two ways has to be in parentheses.
    fn operand(&self, expr: &Expr) -> Result<Operand, Refusal> {
        let what = match expr {
            Expr::Identifier(name) => self.column(std::slice::from_ref(name))?,
            Expr::CompoundIdentifier(names) => self.column(names)?,
            Expr::Value(value) => literal(&value.value)?,
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
                Expr::Value(value) => match literal(&value.value)? {
                    What::Typed(_, digits) => number(format!("-{digits}"))?,
                    _ => return beyond("a minus before something other than a number"),
                },
                _ => return beyond("a minus before something other than a number"),
            },
            Expr::TypedString(typed) if !typed.uses_odbc_syntax => {
                cast(&typed.data_type, literal(&typed.value.value)?)?
            }
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, format: None } => {
                match expr.as_ref() {
                    Expr::Value(value) => cast(data_type, literal(&value.value)?)?,
                    _ => return beyond(format!("a cast of {}", shown(expr))),
                }
            }
            Expr::Collate { expr, collation } => {
                if !is_c(collation) {
                    return beyond(format!("the collation {}", quoted(&collation.to_string())));
                }
                return Ok(Operand { is_bytewise: true, ..self.operand(expr)? });
            }
            Expr::Nested(inner) => match without_parentheses(inner) {
                inner if is_condition(inner) => What::Truth(self.condition(inner)?),
                inner => return self.operand(inner),
            },
            other if is_condition(other) => {
                return beyond("operators side by side; put parentheses around each comparison");
            }
            other => return beyond(described(other)),
        };
        Ok(Operand { what, is_bytewise: false })
    }

    fn column(&self, names: &[Ident]) -> Result<What, Refusal> {
        let mut plain = Vec::with_capacity(names.len());
        for name in names {
            let folded =
                if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() };
            if name.quote_style.is_none() && is_reserved(&folded) {
                return beyond(format!(
                    "{folded}, which means something else than a column; quote it if it is one"
                ));
            }
            plain.push(folded);
        }
        let name = match plain.as_slice() {
            [name] => name,
            [table, name] if *table == self.table.name => name,
            _ => return wrong(format!("{} is not of this table", quoted(&plain.join(".")))),
        };
        if self.table.generated.contains(name) {
            return beyond(format!("column {} is generated, so that it is not in the archive", quoted(name)));
        }
        let place = self.table.columns.iter().position(|c| c.name == *name && (self.is_taken)(name));
        let Some(place) = place else {
            return wrong(format!(
                "column {} does not exist, or is not among those that are taken",
                quoted(name)
            ));
        };
        let column = &self.table.columns[place];
        let kind = self.types.kind(&column.type_name);
        Ok(What::Column(Cell { place, form: column.form }, kind))
    }

    fn compare(&self, one: &Operand, relation: Relation, other: &Operand) -> Result<Node, Refusal> {
        let (one, other) = self.terms(one, other, !relation.is_of_equality())?;
        Ok(Node::Compare(one, relation, other))
    }

    fn distinct(&self, one: &Expr, other: &Expr) -> Result<Node, Refusal> {
        let (one, other) = self.terms(&self.operand(one)?, &self.operand(other)?, false)?;
        Ok(Node::Distinct(one, other))
    }

    /// Both sides as they are compared with each other.
    fn terms(&self, one: &Operand, other: &Operand, by_order: bool) -> Result<(Term, Term), Refusal> {
        let (a, b) = (one.kind(), other.kind());
        // What has no type of its own takes the other's.
        let (a, b) = match (a, b) {
            (None, None) => (STRING, STRING),
            (Some(a), None) => (a.clone(), a.clone()),
            (None, Some(b)) => (b.clone(), b.clone()),
            (Some(a), Some(b)) => (a.clone(), b.clone()),
        };
        let side = |operand: &Operand, kind| Side {
            kind,
            is_column: matches!(operand.what, What::Column(..)),
            is_bytewise: operand.is_bytewise,
        };
        let sense = self.types.sense(&side(one, &a), &side(other, &b), by_order)?;
        Ok((one.term(&a, sense)?, other.term(&b, sense)?))
    }

    fn is_null(&self, expr: &Expr) -> Result<Node, Refusal> {
        Ok(match self.operand(expr)?.what {
            What::Null => Node::Known(Some(true)),
            What::String(_) | What::Typed(..) => Node::Known(Some(false)),
            What::Column(_, Kind::Unknown) => {
                return beyond(format!(
                    "whether {} IS NULL, for its type may be a composite one",
                    shown(expr)
                ));
            }
            What::Column(cell, _) => Node::IsNull(cell),
            What::Truth(node) => Node::Is(Box::new(node), None),
        })
    }

    fn is(&self, expr: &Expr, wanted: Option<bool>) -> Result<Node, Refusal> {
        let node = match self.operand(expr)?.what {
            What::Column(cell, Kind::Boolean) => Node::Column(cell),
            What::Truth(node) => node,
            What::Null => Node::Known(None),
            _ => return wrong(format!("{} is neither true nor false", shown(expr))),
        };
        Ok(Node::Is(Box::new(node), wanted))
    }

    fn between(&self, expr: &Expr, low: &Expr, high: &Expr) -> Result<Node, Refusal> {
        // See `syntax::allowed`.
        let (low, is_symmetric) = match low {
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => (expr.as_ref(), true),
            low => (low, false),
        };
        if matches!(low, Expr::Collate { .. }) {
            return wrong("COLLATE behind BETWEEN needs parentheses");
        }
        let (value, low, high) = (self.operand(expr)?, self.operand(low)?, self.operand(high)?);
        let within = |low, high| {
            let above = self.compare(&value, Relation::GreaterOrEqual, low)?;
            Ok(Node::All(vec![above, self.compare(&value, Relation::LessOrEqual, high)?]))
        };
        let within_both = within(&low, &high)?;
        Ok(if is_symmetric { Node::Any(vec![within_both, within(&high, &low)?]) } else { within_both })
    }

    /// `a IN (…)`. The server brings a list of literals to one type before it compares; where that would make a difference to
    /// one comparison after the other, it is refused.
    fn among(&self, expr: &Expr, list: &[Expr]) -> Result<Node, Refusal> {
        let value = self.operand(expr)?;
        let items: Vec<Operand> = list.iter().map(|item| self.operand(item)).collect::<Result<_, _>>()?;
        if items.is_empty() {
            return wrong("IN needs a list of values");
        }
        let is_float = |operand: &Operand| matches!(operand.kind(), Some(Kind::Real | Kind::Double));
        let is_literal = |operand: &&Operand| !matches!(operand.what, What::Column(..));
        let is_typed = |operand: &Operand| operand.kind().is_some();
        if items.iter().filter(is_literal).any(|item| {
            (is_float(item) && !is_float(&value))
                || (is_typed(item) && value.kind() == Some(&Kind::Real))
                || (value.kind().is_none() && is_typed(item))
        }) {
            return beyond(
                "floating-point numbers, or literals alone, with IN: compare them one by one, with = and OR",
            );
        }
        // '2025-01-01 10:00+02' is another moment where a zone counts.
        let is_string = |operand: &Operand| matches!(operand.what, What::String(_));
        if value.kind().is_some_and(Kind::is_moment)
            && items.iter().any(is_string)
            && items.iter().filter(is_literal).any(|item| is_typed(item) && item.kind() != value.kind())
        {
            return beyond("literals of several types with IN: compare them one by one, with = and OR");
        }
        let mut constants = Vec::new();
        let mut has_null = false;
        let mut first = None;
        let mut others = Vec::new();
        for item in &items {
            match self.terms(&value, item, false)? {
                (term, Term::Constant(constant)) => {
                    let term = first.get_or_insert(term);
                    match (constant, &*term) {
                        (None, _) => has_null = true,
                        // All of them are compared in the same sense: numbers of two kinds are both decimal, or both floating.
                        (Some(constant), _) => constants.push(constant),
                    }
                }
                (one, other) => others.push(Node::Compare(one, Relation::Equal, other)),
            }
        }
        if let Some(term) = first {
            constants.sort_unstable();
            constants.dedup();
            others.push(Node::Among(term, constants, has_null));
        }
        Ok(Node::Any(others))
    }

    fn like(&self, expr: &Expr, pattern: &Expr, escape: Option<&Expr>, folds: bool) -> Result<Node, Refusal> {
        let (value, pattern) = (self.operand(expr)?, self.operand(pattern)?);
        let escape = match escape {
            None => Some('\\'),
            Some(Expr::Value(given)) => match literal(&given.value)? {
                What::String(text) => {
                    let mut chars = text.chars();
                    let escape = chars.next();
                    if chars.next().is_some() {
                        return wrong("ESCAPE takes one character");
                    }
                    escape
                }
                _ => return beyond("ESCAPE with something other than a string"),
            },
            Some(other) => return beyond(format!("ESCAPE {}", shown(other))),
        };
        let cell = match &value.what {
            What::Column(cell, kind) if kind.is_text() => *cell,
            _ => return beyond(format!("LIKE of something other than a column of text: {}", shown(expr))),
        };
        let text = match &pattern.what {
            What::Null => return Ok(Node::Known(None)),
            What::String(text) | What::Typed(Kind::Text, text) => text,
            _ => return beyond("a pattern that is no string"),
        };
        let compiled = Pattern::new(text, escape, folds)?;
        let is_bytewise = value.is_bytewise || pattern.is_bytewise;
        self.types.check_pattern(is_bytewise, folds, compiled.counts())?;
        Ok(Node::Like(cell, compiled))
    }
}

impl Operand {
    /// None: that of whatever it is compared with.
    fn kind(&self) -> Option<&Kind> {
        match &self.what {
            What::Null | What::String(_) => None,
            What::Typed(kind, _) | What::Column(_, kind) => Some(kind),
            What::Truth(_) => Some(&Kind::Boolean),
        }
    }

    fn term(&self, kind: &Kind, sense: Sense) -> Result<Term, Refusal> {
        let read = |text: &str| {
            let value: Option<Value<'static>> = value::literal(kind, sense, text);
            value.map_or_else(
                || beyond(format!("{} where {} is meant", quoted(text), kind.described())),
                |value| Ok(Term::Constant(Some(value))),
            )
        };
        match &self.what {
            What::Null => Ok(Term::Constant(None)),
            What::String(text) | What::Typed(_, text) => read(text),
            What::Column(cell, _) => Ok(Term::Column(*cell, kind.clone(), sense)),
            What::Truth(node) => Ok(Term::Truth(Box::new(node.clone()))),
        }
    }
}

fn relation(op: &BinaryOperator) -> Option<Relation> {
    Some(match op {
        BinaryOperator::Eq => Relation::Equal,
        BinaryOperator::NotEq => Relation::Unequal,
        BinaryOperator::Lt => Relation::Less,
        BinaryOperator::LtEq => Relation::LessOrEqual,
        BinaryOperator::Gt => Relation::Greater,
        BinaryOperator::GtEq => Relation::GreaterOrEqual,
        _ => return None,
    })
}

fn literal(value: &Literal) -> Result<What, Refusal> {
    Ok(match value {
        Literal::Null => What::Null,
        Literal::Boolean(truth) => What::Truth(Node::Known(Some(*truth))),
        Literal::SingleQuotedString(text) => What::String(text.clone()),
        Literal::DollarQuotedString(text) => What::String(text.value.clone()),
        Literal::Number(digits, false) => number(digits.clone())?,
        other => return beyond(format!("the literal {}", quoted(&other.to_string()))),
    })
}

/// Of the type that the server gives it (manual, 4.1.2.6).
fn number(digits: String) -> Result<What, Refusal> {
    if !digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return beyond(format!("the number {}", quoted(&digits)));
    }
    let kind = if digits.parse::<i32>().is_ok() {
        Kind::Integer
    } else if digits.parse::<i64>().is_ok() {
        Kind::BigInt
    } else {
        Kind::Numeric
    };
    Ok(What::Typed(kind, digits))
}

/// A literal of a type that is named with it.
fn cast(data_type: &DataType, literal: What) -> Result<What, Refusal> {
    let name = data_type.to_string().to_uppercase();
    let Some(kind) = of_cast(&name) else {
        return beyond(format!("the type {}", quoted(&name.to_lowercase())));
    };
    match literal {
        What::String(text) => Ok(What::Typed(kind, text)),
        // A number that has to be rounded is no value of the type.
        What::Typed(_, digits) if !matches!(kind, Kind::Text | Kind::Boolean) => {
            Ok(What::Typed(kind, digits))
        }
        _ => beyond(format!("a cast to {}", quoted(&name.to_lowercase()))),
    }
}

fn is_c(collation: &ObjectName) -> bool {
    matches!(collation.0.as_slice(), [ObjectNamePart::Identifier(name)] if name.value == "C" && name.quote_style == Some('"'))
}

/// An expression for messages.
fn shown(expr: &Expr) -> String {
    quoted(&expr.to_string())
}

fn without_parentheses(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// Whether it is made of operators that give true or false.
fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => {
            relation(op).is_some() || matches!(op, BinaryOperator::And | BinaryOperator::Or)
        }
        Expr::UnaryOp { op, .. } => *op == UnaryOperator::Not,
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::InList { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. } => true,
        _ => false,
    }
}

/// What is not understood.
fn described(expr: &Expr) -> String {
    match expr {
        Expr::Function(function) => format!("the function {}", quoted(&function.name.to_string())),
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => "a subquery".to_owned(),
        Expr::Case { .. } => "CASE".to_owned(),
        Expr::Array(_) | Expr::AnyOp { .. } | Expr::AllOp { .. } => "an array".to_owned(),
        Expr::Interval(_) => "an interval".to_owned(),
        Expr::AtTimeZone { .. } => "AT TIME ZONE".to_owned(),
        Expr::Tuple(_) => "a row of several values".to_owned(),
        Expr::BinaryOp { op, .. } => format!("the operator {}", quoted(&op.to_string())),
        other => format!("this: {}", shown(other)),
    }
}
