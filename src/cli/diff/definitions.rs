//! What differs between the definitions in an archive and those in a database or another archive.

use serde::Serialize;
use tokio_postgres::Client;

use super::{DiffArgs, archived};
use crate::archive::model::Header;
use crate::cli::context::{Context, count, print, printable};
use crate::cli::{Ending, ddl, lines};
use crate::connection::{lead, stop};
use crate::failure::{Failure, FailureKind};
use crate::postgres::ddl::Secrets;
use crate::postgres::settings;
use crate::restore::objects::adapt::to_version;
use crate::restore::objects::secrets;
use crate::schema::compare::{Comparison, compare};
use crate::schema::{Object, scope};
use crate::selection::TableFilter;

#[derive(Serialize)]
struct Named<'a> {
    identity: &'a str,
    kind: &'a str,
}

#[derive(Serialize)]
struct Changed<'a> {
    identity: &'a str,
    kind: &'a str,
    what: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    old: &'a str,
    new: &'a str,
    added: Vec<Named<'a>>,
    removed: Vec<Named<'a>>,
    changed: Vec<Changed<'a>>,
    same: usize,
}

/// Compares them.
pub async fn run(context: &Context, args: &DiffArgs) -> Result<Ending, Failure> {
    let (old_name, archive) = archived(context, &args.file)?;
    let header = archive.header().clone();
    let mut old = objects(&old_name, &header)?;
    let (new_name, mut new, of_new) = if args.other == "live" {
        let (name, version, objects) = live(context, secrets(&header)).await?;
        to_version(&mut old, header.source.server_version_num, version);
        (name, objects, TableFilter::default())
    } else {
        let (name, other) = archived(context, &args.other)?;
        let other = other.header();
        to_version(&mut old, header.source.server_version_num, other.source.server_version_num);
        (name.clone(), objects(&name, other)?, selection(other)?)
    };
    let chosen = args.choice.filter()?;
    // What one side was never asked to hold is no difference; nor is what nobody has chosen.
    for (filter, other) in [(selection(&header)?, &mut new), (of_new, &mut old)] {
        for filter in [&filter, &chosen].into_iter().filter(|f| !f.is_all()) {
            let all = std::mem::take(other);
            *other = scope::choose(all, filter).objects;
        }
    }
    let comparison = compare(&old, &new);
    if context.global.json {
        context.json(&answer(&comparison, &old_name, &new_name, args.full))?;
    } else {
        let color = context.colors_output();
        print(&describe(&comparison, &old_name, &new_name, args.full, color))?;
    }
    let is_same =
        comparison.added.is_empty() && comparison.removed.is_empty() && comparison.changed.is_empty();
    Ok(if args.exit_code && !is_same { Ending::Different } else { Ending::Done })
}

fn objects(name: &str, header: &Header) -> Result<Vec<Object>, Failure> {
    let schema = header.schema.as_ref().ok_or_else(|| no_definitions(name))?;
    Ok(schema.objects.clone())
}

/// An archive that holds rows alone.
pub fn no_definitions(name: &str) -> Failure {
    Failure::usage(format!("{name} holds no definitions, only rows"))
        .next("choose a backup that was taken without --data-only (safety backups, and those of the first version, have rows alone)")
}

fn selection(header: &Header) -> Result<TableFilter, Failure> {
    let selection = &header.selection;
    TableFilter::parse(&selection.tables, &selection.exclude)
        .map_err(|e| Failure::new(FailureKind::Archive, e.to_string()))
}

/// The database's name, its server's version, and its objects.
async fn live(context: &Context, secrets: Secrets) -> Result<(String, u32, Vec<Object>), Failure> {
    let connector = context.connector()?;
    let session = lead(&connector, &context.events, &context.cancel).await?;
    let version = session.server_version_num;
    let read = tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Failure::interrupted()),
        read = read(&session.client, version, secrets) => {
            read.map_err(|e| Failure::from_server(&e).while_doing("reading the schema"))
        }
    };
    if read.is_err() {
        stop(&session).await;
    }
    Ok((connector.info().redacted(), version, read.map_err(|f| f.state("the database was only read"))?))
}

async fn read(client: &Client, version: u32, secrets: Secrets) -> Result<Vec<Object>, tokio_postgres::Error> {
    let settings = settings::statements(version);
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}")).await?;
    let schema = crate::postgres::ddl::read_with(client, version, secrets).await?;
    client.batch_execute("ROLLBACK").await?;
    Ok(schema.objects)
}

fn answer<'a>(comparison: &'a Comparison<'a>, old: &'a str, new: &'a str, full: bool) -> Answer<'a> {
    let named = |all: &[&'a Object]| {
        all.iter().map(|o| Named { identity: &o.identity, kind: o.kind.one() }).collect::<Vec<_>>()
    };
    Answer {
        old,
        new,
        added: named(&comparison.added),
        removed: named(&comparison.removed),
        changed: comparison
            .changed
            .iter()
            .map(|change| Changed {
                identity: &change.new.identity,
                kind: change.new.kind.one(),
                what: &change.what,
                old: full.then(|| ddl::text(change.old)),
                new: full.then(|| ddl::text(change.new)),
            })
            .collect(),
        same: comparison.same,
    }
}

fn describe(comparison: &Comparison<'_>, old: &str, new: &str, full: bool, color: bool) -> String {
    let paint = |code: &'static str, text: String| match color {
        true => format!("\x1b[{code}m{text}\x1b[0m\n"),
        false => text + "\n",
    };
    let mut text = String::new();
    for object in &comparison.removed {
        text += &paint("31", format!("- {}", printable(&object.identity)));
    }
    for object in &comparison.added {
        text += &paint("32", format!("+ {}", printable(&object.identity)));
    }
    for change in &comparison.changed {
        let line = format!("~ {} ({})", printable(&change.new.identity), change.what.join(", "));
        text += &paint("33", line);
        if full {
            for line in lines::unified(&ddl::text(change.old), &ddl::text(change.new)) {
                let code = match line.as_bytes().first() {
                    Some(b'-') => "31",
                    Some(b'+') => "32",
                    _ => "0",
                };
                text += &paint(code, format!("    {}", ddl::for_terminal(&line)));
            }
        }
    }
    let number = |n: usize, word: &str| format!("{} {word}", count(n as u64, "object"));
    if !text.is_empty() {
        text.push('\n');
    }
    text + &format!(
        "from {old} to {new}: {}, {} added, {} removed, {} the same\n",
        number(comparison.changed.len(), "changed"),
        comparison.added.len(),
        comparison.removed.len(),
        comparison.same
    )
}
