//! Keeps a password that was given on the command line out of the process list: the program starts itself again with
//! the password in its environment, which only the same user can read, and without it in its arguments.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::failure::Failure;

/// Starts the program again when an argument holds a password; returns when none does.
pub fn conceal() -> Result<(), Failure> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let Some((cleaned, password)) = clean(&arguments) else { return Ok(()) };
    let program = std::env::current_exe().map_err(|e| {
        Failure::from_io("finding this program's own file, to hide the password given to it", &e)
    })?;
    let name = arguments.first().cloned().unwrap_or_else(|| "pgkeep".into());
    let error = Command::new(program).arg0(name).args(&cleaned[1..]).env("PGPASSWORD", password).exec();
    Err(Failure::from_io("starting again without the password on the command line", &error))
}

/// The arguments without the password, and the password.
fn clean(arguments: &[OsString]) -> Option<(Vec<OsString>, String)> {
    let mut cleaned = arguments.to_vec();
    for (at, argument) in arguments.iter().enumerate().skip(1) {
        let Some(text) = argument.to_str() else { continue };
        let start = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| Some(text.find(scheme)? + scheme.len()));
        let found = match start {
            Some(start) => clean_url(text, start),
            // Where a value is expected to be pairs of key=value.
            None if is_url_value(arguments, at) => clean_pairs(text),
            None => None,
        };
        if let Some((text, password)) = found {
            cleaned[at] = text.into();
            return Some((cleaned, password));
        }
    }
    None
}

fn is_url_value(arguments: &[OsString], at: usize) -> bool {
    let is_flag = |a: &OsString| a == "-d" || a == "--database-url";
    let joined =
        |a: &OsString| a.to_str().is_some_and(|t| t.starts_with("--database-url=") || t.starts_with("-d"));
    is_flag(&arguments[at - 1]) || joined(&arguments[at])
}

/// `user:password@` in the authority; a `password=` parameter is left to the parser, which takes it as well.
fn clean_url(text: &str, start: usize) -> Option<(String, String)> {
    let rest = &text[start..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if let Some(at) = rest[..end].rfind('@')
        && let Some(colon) = rest[..at].find(':')
    {
        let password = percent_decode(&rest[colon + 1..at])?;
        return Some((format!("{}{}{}", &text[..start], &rest[..colon], &rest[at..]), password));
    }
    let parameter = rest.find("?password=").or_else(|| rest.find("&password="))? + 1;
    let value = &rest[parameter + "password=".len()..];
    let length = value.find('&').unwrap_or(value.len());
    let password = percent_decode(&value[..length])?;
    let tail = value[length..].strip_prefix('&').unwrap_or("");
    let head = &rest[..parameter];
    let head = if tail.is_empty() { &head[..head.len() - 1] } else { head };
    Some((format!("{}{head}{tail}", &text[..start]), password))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// `password=…` among key=value pairs, in libpq's quoting.
fn clean_pairs(text: &str) -> Option<(String, String)> {
    let start = text.match_indices("password").map(|(i, _)| i).find(|&i| {
        let before = text[..i].chars().next_back();
        let after = text[i + "password".len()..].trim_start();
        before.is_none_or(|c| c.is_whitespace() || c == '=' || c == 'd') && after.starts_with('=')
    })?;
    let equals = start + text[start..].find('=')?;
    let value = &text[equals + 1..];
    let lead = value.len() - value.trim_start().len();
    let body = &value[lead..];
    let quoted = body.starts_with('\'');
    let mut password = String::new();
    let mut end = body.len();
    let mut chars = body.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => password.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => {
                end = at + 1;
                break;
            }
            c if !quoted && c.is_whitespace() => {
                end = at;
                break;
            }
            c => password.push(c),
        }
    }
    Some((format!("{}{}", &text[..start], body[end..].trim_start()), password))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cleaned(arguments: &[&str]) -> Option<(Vec<String>, String)> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let (cleaned, password) = clean(&arguments)?;
        Some((cleaned.into_iter().map(|a| a.into_string().unwrap()).collect(), password))
    }

    #[test]
    fn a_password_leaves_the_arguments_whatever_form_it_has() {
        for (given, left, password) in [
            (
                vec!["pgkeep", "backup", "-d", "postgres://u:p%40%3A%2F%25@h:1/d"],
                "postgres://u@h:1/d",
                "p@:/%",
            ),
            (vec!["pgkeep", "--database-url=postgresql://u:x@h/d"], "--database-url=postgresql://u@h/d", "x"),
            (
                vec!["pgkeep", "-d", "postgres://h/d?user=u&password=p%26q&sslmode=require"],
                "postgres://h/d?user=u&sslmode=require",
                "p&q",
            ),
            (vec!["pgkeep", "-d", "postgres://h/d?password=p"], "postgres://h/d", "p"),
            (vec!["pgkeep", "-d", "host=h password='a\\' b' user=u"], "host=h user=u", "a' b"),
            (vec!["pgkeep", "-d", "host=h password = x"], "host=h ", "x"),
        ] {
            let (arguments, found) = cleaned(&given).unwrap();
            assert_eq!((arguments.last().unwrap().as_str(), found.as_str()), (left, password));
        }
    }

    #[test]
    fn arguments_without_a_password_are_left_alone() {
        assert_eq!(cleaned(&["pgkeep", "backup", "-d", "postgres://u@h/d"]), None);
        assert_eq!(cleaned(&["pgkeep", "show", "password=1"]), None);
    }
}
