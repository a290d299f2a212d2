//! What the documents say can be typed: commands, flags, settings.

use std::collections::BTreeSet;

use clap::Command;
use clap::error::ErrorKind;

use crate::support::Pgkeep;

/// The documents that show commands, by path from the top, with their text.
pub fn documents() -> Vec<(String, String)> {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in std::fs::read_dir(top.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            paths.push(format!("docs/{name}"));
        }
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(top.join(path)).unwrap())).collect()
}

/// A fenced block: what stands behind the opening fence, and its lines.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(kind) => {
                open = !open;
                if open {
                    found.push((kind, Vec::new()));
                }
            }
            None if open => found.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    found
}

/// The lines of a block that are typed: those behind a `$` where there are such, else all, continued lines joined.
fn typed(lines: &[&str]) -> Vec<String> {
    let shown = lines.iter().any(|line| line.starts_with("$ "));
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let command = line.strip_prefix("$ ").unwrap_or(line).trim_end();
        if goes_on {
            commands.last_mut().unwrap().push_str(command.trim_end_matches('\\'));
        } else if !shown || line.starts_with("$ ") {
            commands.push(command.trim_end_matches('\\').to_owned());
        } else {
            continue;
        }
        goes_on = command.ends_with('\\');
    }
    commands
}

/// Splits a line as a shell does, into commands of words; comments are left out.
fn shell(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() || "|;&<>()".contains(c) => {
                // A number before a redirection is part of it.
                if let Some(word) = word.take()
                    && !(matches!(c, '<' | '>') && word.parse::<u8>().is_ok())
                {
                    commands.last_mut().unwrap().push(word);
                }
                if !c.is_whitespace() {
                    commands.push(Vec::new());
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().unwrap().extend(word);
    commands
}

/// The arguments of each run of pgkeep in a line.
fn runs(line: &str) -> Vec<Vec<String>> {
    shell(line)
        .into_iter()
        .filter_map(|words| {
            let at = words.iter().position(|word| word == "pgkeep")?;
            // What a reader is to fill in.
            let fill = |word: String| match word.as_str() {
                "COMMAND" => "backup".to_owned(),
                "SHELL" => "bash".to_owned(),
                _ => word,
            };
            Some(words.into_iter().skip(at).filter(|word| word != "…").map(fill).collect())
        })
        .collect()
}

/// Commands in code spans of running text.
fn spans(text: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            open = !open;
        } else if !open {
            outside += line;
            outside.push('\n');
        }
    }
    outside.split('`').skip(1).step_by(2).filter(|s| s.starts_with("pgkeep ")).map(str::to_owned).collect()
}

#[test]
fn every_command_in_the_documents_is_one() {
    let command = pgkeep::cli::command();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let mut check = |line: &str, whole: bool| {
            for words in runs(line) {
                seen += 1;
                let Err(error) = command.clone().try_get_matches_from(&words) else { continue };
                let named_only = !whole
                    && matches!(
                        error.kind(),
                        ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand
                    );
                if !named_only && !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
                {
                    wrong.push(format!("{path}: {line}\n{error}"));
                }
            }
        };
        for (kind, lines) in blocks(&text) {
            if !["toml", "json", "sql", "text", "yaml"].contains(&kind) {
                typed(&lines).iter().for_each(|line| check(line, true));
            }
        }
        // A text may call a command by its name alone.
        spans(&text).iter().for_each(|span| check(span, false));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 40, "the documents show commands, and they were found: {seen}");
}

/// README's block of settings.
fn settings() -> String {
    let (_, readme) = documents().into_iter().find(|(path, _)| path == "README.md").unwrap();
    let blocks = blocks(&readme);
    let (_, lines) = blocks.iter().find(|(kind, _)| *kind == "toml").expect("README shows pgkeep.toml");
    lines.join("\n")
}

#[test]
fn every_setting_that_the_readme_shows_is_accepted() {
    let pgkeep = Pgkeep::new();
    let file = pgkeep.dir().join("pgkeep.toml");
    std::fs::write(&file, settings()).unwrap();
    pgkeep.ok(&["list"]);
    // With what is commented out, and without what that excludes.
    let all: Vec<String> = settings()
        .lines()
        .filter(|line| !line.starts_with("password_file"))
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") => rest.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    assert!(all.iter().any(|line| line.starts_with("password_command")));
    std::fs::write(&file, all.join("\n")).unwrap();
    pgkeep.ok(&["list"]);
}

/// Every flag of every command: the command's name, empty for all, and the flag's.
fn flags() -> BTreeSet<(String, String)> {
    let long = |command: &Command| -> Vec<String> {
        let arguments = command.get_arguments().filter(|a| !a.is_global_set());
        arguments.filter_map(|a| a.get_long().map(str::to_owned)).collect()
    };
    let command = pgkeep::cli::command();
    let global = command.get_arguments().filter(|a| a.is_global_set()).filter_map(|a| a.get_long());
    let mut found: BTreeSet<_> = global.map(|flag| (String::new(), flag.to_owned())).collect();
    for sub in command.get_subcommands() {
        found.extend(long(sub).into_iter().map(|flag| (sub.get_name().to_owned(), flag)));
    }
    found
}

#[test]
fn every_flag_is_a_setting_that_the_readme_shows() {
    let settings = settings();
    let keys: BTreeSet<&str> = settings
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = ").map(|(key, _)| key.trim()))
        .collect();
    let flags = flags();
    assert!(flags.len() > 25, "{flags:?}");
    for (command, flag) in flags {
        let key = match flag.as_str() {
            // The one that says where the others are.
            "config" => continue,
            "table" => "tables".to_owned(),
            "critical" => "critical_tables".to_owned(),
            "fallback-url" => "fallback_urls".to_owned(),
            flag => flag.replace('-', "_"),
        };
        assert!(keys.contains(key.as_str()), "README's pgkeep.toml lacks {key}, --{flag} of {command:?}");
    }
}

#[test]
fn every_flag_is_an_environment_variable_of_its_name() {
    let command = pgkeep::cli::command();
    for sub in std::iter::once(&command).chain(command.get_subcommands()) {
        for argument in sub.get_arguments().filter(|a| a.get_long().is_some_and(|l| l != "version")) {
            let name = format!("PGKEEP_{}", argument.get_long().unwrap().replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|e| e.to_str()), Some(name.as_str()));
        }
    }
}

#[test]
fn a_line_is_split_as_a_shell_does() {
    let line = "$ DIR=/x pgkeep show a 'b c' 2>/dev/null | jq '.x | .y' # pgkeep nonsense";
    assert_eq!(runs(line), [["pgkeep", "show", "a", "b c"].map(str::to_owned).to_vec()]);
    assert_eq!(typed(&["$ pgkeep \\", "    list", "pgkeep says"]), ["pgkeep     list"]);
}

/// The texts of all source files without what a formatter may move: line breaks and the blanks around them.
fn sources() -> String {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => text += &std::fs::read_to_string(path).unwrap(),
            }
        }
    }
    let lines: Vec<&str> = text.lines().map(|line| line.trim().trim_end_matches('\\')).collect();
    lines.join("").replace("\\\"", "\"")
}

/// Words of the server and of the operating system.
const FOREIGN_WORDS: [&str; 11] = [
    "out of shared memory",
    "terminating connection due to administrator command",
    "canceling statement due to",
    "cannot set transaction read-write mode",
    "cannot execute",
    "in a read-only transaction",
    "cannot insert multiple commands",
    "query would be affected by",
    "No space left on device",
    "Permission denied",
    "try '--help'",
];

#[test]
fn every_message_of_troubleshooting_is_one_of_the_program() {
    let (_, text) = documents().into_iter().find(|(path, _)| path == "docs/troubleshooting.md").unwrap();
    let sources = sources();
    let mut seen = 0;
    let mut wrong = Vec::new();
    // The first cells of tables hold the messages.
    for cell in text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()) {
        for message in format!("`{cell}").split('`').skip(1).step_by(2) {
            for piece in message.split('…').map(|p| p.trim_matches([' ', ':', ',', '(', ')'])) {
                seen += 1;
                let known = |text: &str| sources.replace(' ', "").contains(&text.replace(' ', ""));
                if piece.len() > 3 && !FOREIGN_WORDS.iter().any(|w| piece.contains(w)) && !known(piece) {
                    wrong.push(format!("{message:?}: nothing says {piece:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "messages were found: {seen}");
}
