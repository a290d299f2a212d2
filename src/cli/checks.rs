//! Which checks there are, and which of them are run: `[[check]]` of `pgkeep.toml`, names, `--exists`.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use toml::{Table, Value};

use super::context::Context;
use crate::check::exists::Thing;
use crate::check::{Check, Expect, Test};
use crate::failure::Failure;
use crate::selection::Pattern;

/// Takes the checks out of the file. What is left under their key is the section of the command of that name.
pub fn read(path: &Path, table: &mut Table) -> Result<Vec<Check>> {
    let mut read = || {
        match table.get("check") {
            Some(Value::Table(section)) if section.contains_key("sql") || section.contains_key("name") => {
                bail!("a check stands under [[check]], with two brackets")
            }
            Some(Value::Array(_)) => {}
            _ => return Ok(Vec::new()),
        }
        let Some(Value::Array(list)) = table.remove("check") else { return Ok(Vec::new()) };
        let mut checks: Vec<Check> = Vec::new();
        for (at, value) in list.iter().enumerate() {
            let check = one(value, at + 1)?;
            if checks.iter().any(|other| other.name == check.name) {
                bail!("check {:?}: another has that name", check.name);
            }
            checks.push(check);
        }
        Ok(checks)
    };
    read().with_context(|| format!("configuration file {}", path.display()))
}

fn one(value: &Value, number: usize) -> Result<Check> {
    let Value::Table(keys) = value else { bail!("check {number} is no table: write [[check]]") };
    let name = match keys.get("name") {
        Some(Value::String(name)) if !name.trim().is_empty() => name.clone(),
        Some(_) => bail!("check {number}: its name must be a text"),
        None => bail!("check {number} has no name"),
    };
    let test = test(keys).with_context(|| format!("check {name:?}"))?;
    let table = match (keys.get("table"), &test) {
        (None, _) => None,
        (Some(Value::String(table)), Test::Query { expect: Expect::NoRows, .. }) => {
            Some(Pattern::parse(table).with_context(|| format!("check {name:?}"))?)
        }
        (Some(_), _) => bail!(
            "check {name:?}: \"table\" is the table whose rows its \"sql\" gives, none of which should be"
        ),
    };
    Ok(Check { name, test, table })
}

fn test(keys: &Table) -> Result<Test> {
    if let Some(unknown) =
        keys.keys().find(|key| !["name", "sql", "expect", "exists", "table"].contains(&key.as_str()))
    {
        bail!("there is no key {unknown:?}, only name, sql, expect, exists and table");
    }
    let text = |key: &str| match keys.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(anyhow!("{key:?} must be a text")),
    };
    match (text("sql")?, text("exists")?) {
        (Some(sql), None) => Ok(Test::Query { sql, expect: expect(keys.get("expect"))? }),
        (None, Some(exists)) if !keys.contains_key("expect") => Ok(Test::Exists(Thing::parse(&exists)?)),
        (None, Some(_)) => bail!("\"expect\" goes with \"sql\" alone"),
        (None, None) => bail!("it has neither \"sql\" nor \"exists\""),
        (Some(_), Some(_)) => bail!("it has both \"sql\" and \"exists\""),
    }
}

fn expect(value: Option<&Value>) -> Result<Expect> {
    Ok(match value {
        None => Expect::NoRows,
        Some(Value::String(text)) if text == "no rows" => Expect::NoRows,
        Some(Value::String(text)) => Expect::Text(text.clone()),
        Some(Value::Integer(number)) => Expect::Number(number.to_string()),
        Some(Value::Float(number)) if number.is_nan() => Expect::Number("NaN".to_owned()),
        Some(Value::Float(number)) if number.is_infinite() => {
            Expect::Number(if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
        }
        Some(Value::Float(number)) => Expect::Number(number.to_string()),
        Some(Value::Boolean(truth)) => Expect::Truth(*truth),
        Some(_) => bail!("\"expect\" must be \"no rows\", a text, a number, true or false"),
    })
}

/// The checks that are asked for: those of these names and these objects, or all that are configured where none is.
pub fn chosen(context: &Context, names: &[String], exists: &[String]) -> Result<Vec<Check>, Failure> {
    if names.is_empty() && exists.is_empty() {
        return Ok(context.settings.checks.clone());
    }
    let mut chosen: Vec<Check> = Vec::new();
    for name in names {
        let check = context.settings.checks.iter().find(|check| check.name == *name).ok_or_else(|| {
            let known: Vec<&str> = context.settings.checks.iter().map(|check| check.name.as_str()).collect();
            let next = match known.as_slice() {
                [] => HOW_TO.to_owned(),
                known => format!("choose of {}", known.join(", ")),
            };
            Failure::usage(format!("there is no check called {name:?}")).next(next)
        })?;
        chosen.push(check.clone());
    }
    for text in exists.iter().flat_map(|list| split(list)) {
        let thing = Thing::parse(text.trim()).map_err(|e| Failure::usage(e.to_string()))?;
        chosen.push(Check { name: thing.to_string(), test: Test::Exists(thing), table: None });
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|check| seen.insert(check.name.clone()));
    Ok(chosen)
}

const HOW_TO: &str = "write into pgkeep.toml: [[check]] name = \"…\", sql = \"SELECT …\" (the rows that should not be); or ask for --exists table:NAME";

/// The failure for a run of checks where there are none.
pub fn none() -> Failure {
    Failure::usage("no check is configured, and none is asked for").next(HOW_TO)
}

/// The pieces of a list between commas that stand neither in quotes nor among the arguments of a function.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut depth) = (false, 0_usize);
    text.split(move |c| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && !quoted && depth == 0
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(toml: &str) -> std::result::Result<Vec<Check>, String> {
        let mut table = toml.parse::<Table>().unwrap();
        read(Path::new("pgkeep.toml"), &mut table).map_err(|e| format!("{e:#}"))
    }

    fn expected(value: &str) -> Expect {
        let checks = parse(&format!("[[check]]\nname = 'a'\nsql = 'SELECT'\nexpect = {value}")).unwrap();
        let Test::Query { expect, .. } = checks[0].test.clone() else { unreachable!() };
        expect
    }

    #[test]
    fn what_is_expected_is_no_rows_or_a_value_of_its_kind() {
        assert_eq!(expected("'no rows'"), Expect::NoRows);
        assert_eq!(expected("3"), Expect::Number("3".into()));
        assert_eq!(expected("3.5"), Expect::Number("3.5".into()));
        assert_eq!(expected("-inf"), Expect::Number("-Infinity".into()));
        assert_eq!(expected("'3'"), Expect::Text("3".into()));
        assert_eq!(expected("true"), Expect::Truth(true));
        let plain = parse("[[check]]\nname = 'a'\nsql = 'SELECT'").unwrap();
        assert_eq!(plain[0].test, Test::Query { sql: "SELECT".into(), expect: Expect::NoRows });
    }

    #[test]
    fn what_is_no_check_is_refused_with_its_name() {
        for (toml, why) in [
            ("[[check]]\nsql = 'SELECT'", "check 1 has no name"),
            ("[[check]]\nname = 3\nsql = 'SELECT'", "check 1: its name must be a text"),
            ("[[check]]\nname = 'a'", "check \"a\": it has neither"),
            ("[[check]]\nname = 'a'\nsql = 'S'\nexists = 'table:t'", "it has both"),
            ("[[check]]\nname = 'a'\nsql = 3", "\"sql\" must be a text"),
            ("[[check]]\nname = 'a'\nsql = 'S'\nexpct = 3", "there is no key \"expct\""),
            ("[[check]]\nname = 'a'\nsql = 'S'\nexpect = [3]", "\"expect\" must be"),
            ("[[check]]\nname = 'a'\nexists = 'tabel:t'", "names no object"),
            ("[[check]]\nname = 'a'\nexists = 'table:t'\nexpect = 1", "goes with \"sql\" alone"),
            ("[[check]]\nname='a'\nsql='S'\n[[check]]\nname='a'\nsql='S'", "\"a\": another has that name"),
            ("[check]\nname = 'a'\nsql = 'S'", "with two brackets"),
            ("check = [3]", "check 1 is no table"),
        ] {
            let error = parse(toml).unwrap_err();
            assert!(error.contains(why) && error.contains("configuration file pgkeep.toml"), "{error}");
        }
        // The section of the command is left to its flags.
        assert_eq!(parse("[check]\nrows = 3"), Ok(Vec::new()));
    }

    #[test]
    fn a_list_of_objects_is_split_outside_of_quotes_and_arguments() {
        let pieces: Vec<&str> = split("table:a,function:f(integer, text),view:\"b,c\"").collect();
        assert_eq!(pieces, ["table:a", "function:f(integer, text)", "view:\"b,c\""]);
    }
}
