//! Runs SQL for tests, by the simple protocol: every value is text, as the server prints it.

use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Rows of text; None is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Runs a batch and returns the rows of all its statements; panics with the server's words.
pub fn query(url: &str, sql: &str) -> Rows {
    try_query(url, sql).unwrap_or_else(|error| {
        let shown: String = sql.chars().take(300).collect();
        panic!("{error}\nin: {shown}")
    })
}

/// Like `query`, but hands back the server's refusal.
pub fn try_query(url: &str, sql: &str) -> Result<Rows, String> {
    // A thread of its own, because the caller may be inside a runtime already.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run(url, sql)).map_err(|error| match error.as_db_error() {
                    Some(db) => format!("{} ({})", db.message(), db.code().code()),
                    None => format!("{error}: {:?}", std::error::Error::source(&error)),
                })
            })
            .join()
            .unwrap()
    })
}

async fn run(url: &str, sql: &str) -> Result<Rows, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await;
    drop(client);
    // Waits for the Terminate message to leave, so that the session is gone soon after.
    let _ = connection.await;
    let rows = messages?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// Runs `work` while another session has run `statement` in a transaction that it leaves open, as people who go home
/// do; `work` gets that session's PID. The transaction is rolled back afterwards.
pub fn while_held<T>(url: &str, statement: &str, work: impl FnOnce(i32) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (client, pid) = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {statement}")).await.unwrap();
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        (client, pid)
    });
    let done = work(pid);
    runtime.block_on(client.batch_execute("ROLLBACK")).unwrap();
    done
}
