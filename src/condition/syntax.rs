//! The text of a condition → an expression, within bounds that no text can make a stack overflow with.
//!
//! The parser knows more than Postgres takes, and binds some things in another way. So only tokens come to it that it reads as
//! Postgres does, and `build` takes no operand that could have been bound in two ways without parentheses.

use sqlparser::ast::Expr;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::Refusal;
use super::kind::quoted;
use crate::schema::script::RESERVED;

/// Levels of parentheses and the like.
const DEEPEST: usize = 50;
/// Words, names and operators, of which each may be a level of the expression; values in lists are none.
const MOST: usize = 4000;
/// Of the thread that parses: what is nested as deeply as may be takes less than a tenth of it.
const STACK: usize = 32 << 20;

/// Whether an unquoted word, in lower case, is no name.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Parses one expression and nothing behind it.
pub fn parse(text: &str) -> Result<Expr, Refusal> {
    let parse = || {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize();
        let tokens = allowed(tokens.map_err(|e| Refusal::Wrong(e.to_string()))?)?;
        let mut parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEEPEST).with_tokens(tokens);
        let expression = parser.parse_expr().map_err(described)?;
        match parser.peek_token().token {
            Token::EOF => Ok(expression),
            other => Err(Refusal::Wrong(format!("{} is not expected there", quoted(&other.to_string())))),
        }
    };
    // What is nested is parsed, and given back, by calls within calls: it shall not matter who calls this.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, parse);
        let result = thread.map(std::thread::ScopedJoinHandle::join);
        result.unwrap_or_else(|_| Ok(Err(unread()))).unwrap_or_else(|_| Err(unread()))
    })
}

fn unread() -> Refusal {
    Refusal::Beyond("it could not be read".to_owned())
}

fn described(error: ParserError) -> Refusal {
    match error {
        ParserError::RecursionLimitExceeded => {
            Refusal::Beyond(format!("it is nested more than {DEEPEST} deep"))
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            // What it has found instead may be a value.
            Refusal::Wrong(text.split(" at Line").next().unwrap_or_default().to_owned())
        }
    }
}

/// The tokens, if there is none among them that Postgres might read in another way.
///
/// `BETWEEN SYMMETRIC low AND high`, which the parser does not know, becomes `BETWEEN + low AND high`: there is no other
/// plus, for that would be arithmetic.
fn allowed(tokens: Vec<Token>) -> Result<Vec<Token>, Refusal> {
    let beyond = |what: &str| Err(Refusal::Beyond(what.to_owned()));
    let mut all: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut levels = 0;
    let mut after_between = false;
    for token in tokens {
        let is_between = matches!(&token, Token::Word(w) if w.keyword == Keyword::BETWEEN);
        match &token {
            Token::Whitespace(Whitespace::Space | Whitespace::Tab | Whitespace::Newline) => {
                all.push(token);
                continue;
            }
            Token::Whitespace(_) => return beyond("it holds a comment"),
            Token::Word(word) => {
                levels += 1;
                let is_symmetric = after_between && word.keyword == Keyword::SYMMETRIC;
                let is_asymmetric = after_between && word.value.eq_ignore_ascii_case("asymmetric");
                if word.quote_style.is_none() && (is_symmetric || is_asymmetric) {
                    after_between = false;
                    if is_symmetric {
                        all.push(Token::Plus);
                    }
                    continue;
                }
            }
            Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::Number(_, false)
            | Token::Comma => {}
            Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => levels += 1,
            Token::Minus | Token::LParen | Token::RParen | Token::Period | Token::DoubleColon => levels += 1,
            Token::EscapedStringLiteral(_) | Token::UnicodeStringLiteral(_) => {
                return beyond("a string with escapes: write it in plain quotes, or between dollars");
            }
            Token::SemiColon => return Err(Refusal::Wrong("it holds a semicolon".to_owned())),
            Token::Placeholder(name) => {
                return Err(Refusal::Wrong(format!("{} stands for nothing", quoted(name))));
            }
            other => return beyond(&format!("the operator {}", quoted(&other.to_string()))),
        }
        after_between = is_between;
        all.push(token);
    }
    if levels > MOST {
        return beyond(&format!(
            "it has more than {MOST} words and operators; write a long list of values as IN (…)"
        ));
    }
    Ok(all)
}
