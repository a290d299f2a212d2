//! What extensions keep for their users, as calls of the extensions' functions: queues (pgmq), jobs (pg_cron), secrets
//! (supabase_vault). See `extensions`.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use tokio_postgres::Error;

use super::draft::{Address, Draft, Reader, at, class, of_table, post_data};
use crate::postgres::extensions::tables_of_queue;
use crate::postgres::quote;
use crate::schema::script::ident;
use crate::schema::{Kind, Object};

/// Which of them are here: name, the extension's `oid`, whether the role can read them whole. What it cannot a backup has
/// refused before.
const PRESENT: &str = "
SELECT x.extname::pg_catalog.text, x.oid,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
         AND NOT pg_catalog.row_security_active(c.oid)
  FROM (VALUES ('pgmq', 'pgmq', 'meta'), ('pg_cron', 'cron', 'job'), ('supabase_vault', 'vault', 'decrypted_secrets'))
         AS k (extension, schema, name)
  JOIN pg_catalog.pg_extension x ON x.extname = k.extension
  JOIN pg_catalog.pg_namespace n ON n.nspname = k.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = k.name";

/// Queues whose tables are the extension's: name, whether unlogged, partitioned, and `oid`s of what goes with it.
const QUEUES: &str = "
SELECT m.queue_name::pg_catalog.text, m.is_unlogged, m.is_partitioned, q.oid,
       ARRAY(SELECT d.objid
               FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid
              WHERE d.classid = 1259 AND d.deptype = 'e' AND c.relnamespace = q.relnamespace
                AND (c.relname IN (q.relname, 'a_' || pg_catalog.lower(m.queue_name))
                     OR c.oid = pg_catalog.pg_get_serial_sequence(
                          'pgmq.' || pg_catalog.quote_ident(q.relname), 'msg_id')::pg_catalog.regclass))
  FROM pgmq.meta m
  JOIN pg_catalog.pg_class q ON q.relname = 'q_' || pg_catalog.lower(m.queue_name)
       AND q.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pgmq')
 WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 1259 AND d.objid = q.oid AND d.deptype = 'e')
 ORDER BY 1";

/// Jobs: number, name, schedule, command, database where it is not this one, role, whether it is active.
const JOBS: &str = "
SELECT j.jobid, j.jobname::pg_catalog.text, j.schedule, j.command,
       NULLIF(j.database, pg_catalog.current_database()::pg_catalog.text), j.username::pg_catalog.text, j.active
  FROM cron.job j ORDER BY j.jobname, j.schedule, j.command, j.database, j.username, j.jobid";

/// Secrets: name, description, content.
const SECRETS: &str = "
SELECT s.name, s.description, s.decrypted_secret FROM vault.decrypted_secrets s
 ORDER BY s.name, s.description, s.decrypted_secret";

/// What was found.
#[derive(Debug, Default)]
pub struct Kept {
    /// The objects.
    pub drafts: Vec<Draft>,
    /// Relations that come with a queue, and its address.
    pub of_queues: HashMap<Address, Address>,
}

/// Reads them; secrets where they are asked for.
pub async fn read(reader: Reader<'_>, secrets: bool) -> Result<Kept, Error> {
    let mut kept = Kept::default();
    for row in reader.rows(PRESENT).await? {
        let extension = at(class::EXTENSION, row.get(1));
        match (row.get::<_, &str>(0), row.get(2)) {
            ("pgmq", true) => queues(reader, extension, &mut kept).await?,
            ("pg_cron", true) => jobs(reader, extension, &mut kept).await?,
            // Who asks for them is to hear that he may not.
            ("supabase_vault", _) if secrets => self::secrets(reader, extension, &mut kept).await?,
            _ => {}
        }
    }
    Ok(kept)
}

async fn queues(reader: Reader<'_>, extension: Address, kept: &mut Kept) -> Result<(), Error> {
    for row in reader.rows(QUEUES).await? {
        let name: String = row.get(0);
        let function = match (row.get(1), row.get(2)) {
            (_, true) => "create_partitioned",
            (true, _) => "create_unlogged",
            _ => "\"create\"",
        };
        let [waiting, _] = tables_of_queue(&name);
        let mut object =
            of_table(Kind::Queue, format!("QUEUE {}", ident(&name)), &name, ("pgmq", waiting.as_str()));
        let literal = quote::literal(&name);
        object.create.push(format!("SELECT pgmq.{function}({literal})"));
        object.drop.push(format!("SELECT pgmq.drop_queue({literal})"));
        let place = at(class::KEPT, row.get(3));
        for relation in row.get::<_, Vec<u32>>(4) {
            kept.of_queues.insert(at(class::CLASS, relation), place);
        }
        let mut draft = Draft::new(place, object);
        draft.needs.push(extension);
        kept.drafts.push(draft);
    }
    Ok(())
}

async fn jobs(reader: Reader<'_>, extension: Address, kept: &mut Kept) -> Result<(), Error> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for row in reader.rows(JOBS).await? {
        let text = |n: usize| row.get::<_, Option<String>>(n);
        let literal = |n: usize| text(n).map(|t| quote::literal(&t));
        let (schedule, command) = (literal(2).unwrap_or_default(), literal(3).unwrap_or_default());
        let role = literal(5).unwrap_or_default();
        let is_active: bool = row.get(6);
        let what = text(1).map_or_else(|| format!("{schedule} {command}"), |name| ident(&name));
        let owner = ident(&text(5).unwrap_or_default());
        let identity = numbered(&mut seen, format!("JOB {what} OF {owner}"));
        // The job of whoever makes it needs no word about that, and only a superuser may say one.
        let user = format!("NULLIF({role}, CURRENT_USER::pg_catalog.text)");
        let database =
            literal(4).unwrap_or_else(|| "pg_catalog.current_database()::pg_catalog.text".to_owned());
        let (create, is_it) = match literal(1) {
            Some(name) => (
                format!(
                    "SELECT cron.schedule_in_database({name}, {schedule}, {command}, {database}, {user}, {is_active})"
                ),
                format!("j.jobname = {name}"),
            ),
            // Only jobs with a name can be made as they are to be in one call.
            None => (
                format!(
                    "SELECT cron.alter_job(cron.schedule({schedule}, {command}), database := {database}, username := {user}, active := {is_active})"
                ),
                format!(
                    "j.jobname IS NULL AND j.schedule = {schedule} AND j.command = {command} AND j.database = {database} AND j.active = {is_active}"
                ),
            ),
        };
        let mut object = Object::new(Kind::Job, identity, None, text(1).unwrap_or_default());
        object.create.push(create);
        object.drop.push(format!(
            "SELECT cron.unschedule(j.jobid) FROM cron.job j WHERE {is_it} AND j.username = {role} ORDER BY j.jobid DESC LIMIT 1"
        ));
        let number = row.get::<_, i64>(0) as u32;
        let mut draft = Draft::new(at(class::KEPT + 1, number), post_data(object));
        draft.needs.push(extension);
        kept.drafts.push(draft);
    }
    Ok(())
}

async fn secrets(reader: Reader<'_>, extension: Address, kept: &mut Kept) -> Result<(), Error> {
    let mut seen = HashMap::new();
    for (number, row) in (0..).zip(reader.rows(SECRETS).await?) {
        let text = |n: usize| row.get::<_, Option<String>>(n).unwrap_or_default();
        let (description, content) = (text(1), text(2));
        let name: Option<String> = row.get(0);
        let identity = match &name {
            Some(name) => format!("SECRET {}", ident(name)),
            // Numbers would change with each that goes, and ids differ from vault to vault. Sixteen bits tell nobody
            // what is in it.
            None => {
                let hash = Sha256::digest(format!("{description}\0{content}"));
                numbered(&mut seen, format!("SECRET nameless {:02x}{:02x}", hash[0], hash[1]))
            }
        };
        let literal = |text: &str| quote::literal(text);
        let quoted = name.as_deref().map_or_else(|| "NULL".to_owned(), literal);
        let (description, content) = (literal(&description), literal(&content));
        let mut object = Object::new(Kind::Secret, identity, None, name.clone().unwrap_or_default());
        object.create.push(format!("SELECT vault.create_secret({content}, {quoted}, {description})"));
        object.drop.push(match name {
            Some(_) => format!("DELETE FROM vault.secrets WHERE name = {quoted}"),
            None => format!(
                "DELETE FROM vault.secrets WHERE id = (SELECT s.id FROM vault.decrypted_secrets s
    WHERE s.name IS NULL AND s.description = {description} AND s.decrypted_secret = {content} LIMIT 1)"
            ),
        });
        let mut draft = Draft::new(at(class::KEPT + 2, number), post_data(object));
        draft.needs.push(extension);
        kept.drafts.push(draft);
    }
    Ok(())
}

/// The identity, with a number behind it where it has been there before.
fn numbered(seen: &mut HashMap<String, u32>, identity: String) -> String {
    let times = seen.entry(identity.clone()).or_default();
    *times += 1;
    if *times == 1 { identity } else { format!("{identity} #{times}") }
}
