//! What a session knows: its server, its notices, how to cancel, and why it ended.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgkeep::postgres::error;

use crate::support::{Cut, Proxy, wait_until};
use crate::{info, once, url, value, world};

#[tokio::test]
async fn a_session_knows_its_server() {
    let session = once(&info(&url("app", "shop", ""))).await.unwrap();
    assert_eq!(session.server_version_num / 10_000, world().cluster.postgres.major);
    assert_eq!(value(&session, "SELECT pg_backend_pid()").await, session.backend_pid.to_string());
    assert_eq!(value(&session, "SHOW application_name").await, "pgkeep");
    assert_eq!(value(&session, "SHOW client_encoding").await, "UTF8");
    let session =
        once(&info(&url("app", "shop", "application_name=n&options=-c%20work_mem%3D1MB"))).await.unwrap();
    assert_eq!(value(&session, "SHOW application_name").await, "n");
    assert_eq!(value(&session, "SHOW work_mem").await, "1MB");
}

fn sessions_of(name: &str) -> usize {
    let sql = format!("SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}'");
    world().cluster.query("postgres", &sql).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_or_closing_a_session_closes_its_connection() {
    let session = once(&info(&url("app", "shop", "application_name=dropped"))).await.unwrap();
    assert_eq!(sessions_of("dropped"), 1);
    drop(session);
    wait_until("the dropped session ends", 10, || sessions_of("dropped") == 0);
    let session = once(&info(&url("app", "shop", "application_name=closed"))).await.unwrap();
    session.close().await;
    wait_until("the closed session ends", 10, || sessions_of("closed") == 0);
    // In the middle of a COPY whose rows nobody takes.
    let session = once(&info(&url("app", "shop", "application_name=copying"))).await.unwrap();
    let copy =
        session.client.copy_out("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT");
    let stream = copy.await.unwrap();
    drop(session);
    wait_until("the copying session ends", 10, || sessions_of("copying") == 0);
    drop(stream);
}

#[tokio::test]
async fn cancelling_works_with_and_without_tls() {
    for mode in ["disable", "require"] {
        let session = once(&info(&url("app", "shop", &format!("sslmode={mode}")))).await.unwrap();
        let (handle, start) = (session.cancel_handle(), Instant::now());
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            handle.cancel().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(session.client.simple_query("SELECT pg_sleep(60)"), cancel);
        let failed = outcome.unwrap_err();
        assert!(error::is_cancelled(&failed) && !error::is_connection_loss(&failed));
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(value(&session, "SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn notices_are_heard_early_ones_too() {
    let session = once(&info(&url("app", "shop", ""))).await.unwrap();
    session.client.batch_execute("DO $$ BEGIN RAISE WARNING 'early'; END $$").await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    session.on_notice(Arc::new(move |notice| listener.lock().unwrap().push(notice.clone())));
    session.client.batch_execute("DO $$ BEGIN RAISE NOTICE 'late'; END $$").await.unwrap();
    let heard = heard.lock().unwrap();
    let texts: Vec<_> =
        heard.iter().map(|notice| (notice.severity.as_str(), notice.message.as_str())).collect();
    assert_eq!(texts, [("WARNING", "early"), ("NOTICE", "late")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_session_says_why() {
    let terminate = |pid: i32| {
        world().cluster.execute("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    };
    // While it is idle: the next query fails, and the reason is remembered.
    let session = once(&info(&url("app", "shop", ""))).await.unwrap();
    terminate(session.backend_pid);
    wait_until("the end is noticed", 10, || session.lost().is_some());
    let failed = session.client.simple_query("SELECT 1").await.unwrap_err();
    assert!(error::is_connection_loss(&failed));
    let expected = format!(
        "the connection to 127.0.0.1:{} was lost: terminating connection due to administrator command",
        world().cluster.port
    );
    assert_eq!(session.describe(&failed), expected);
    // While it works: the query itself gets the server's words.
    let session = once(&info(&url("app", "shop", ""))).await.unwrap();
    let pid = session.backend_pid;
    let killer = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(200));
        world().cluster.execute("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    });
    let failed = session.client.simple_query("SELECT pg_sleep(60)").await.unwrap_err();
    assert!(error::is_connection_loss(&failed));
    assert_eq!(session.describe(&failed), expected);
    let again = session.client.simple_query("SELECT 1").await.unwrap_err();
    assert_eq!(session.describe(&again), expected);
    killer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_says_so() {
    for (cut, part) in [(Cut::Close, "the server closed the connection"), (Cut::Reset, "reset")] {
        let proxy = Proxy::to(world().cluster.port);
        let url = proxy.url(&url("app", "shop", "sslmode=disable"), world().cluster.port);
        let session = once(&info(&url)).await.unwrap();
        let query = session.client.simple_query("SELECT pg_sleep(60)");
        let (outcome, ()) = tokio::join!(query, async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            proxy.cut(cut);
        });
        let failed = outcome.unwrap_err();
        assert!(error::is_connection_loss(&failed));
        let text = session.describe(&failed);
        assert!(text.contains("was lost") && text.contains(part), "{cut:?}: {text}");
        let again = session.client.simple_query("SELECT 1").await.unwrap_err();
        assert_eq!(session.describe(&again), text);
    }
}

#[tokio::test]
async fn failed_queries_are_described_without_row_values() {
    let session = once(&info(&url("app", "shop", ""))).await.unwrap();
    session
        .client
        .batch_execute(
            "CREATE TEMP TABLE guests (email text PRIMARY KEY, age int CHECK (age > 0), name text NOT NULL)",
        )
        .await
        .unwrap();
    let describe = async |sql: &str| {
        let failed = session.client.batch_execute(sql).await.unwrap_err();
        assert!(!error::is_connection_loss(&failed));
        let text = session.describe(&failed);
        assert!(!text.contains("hidden"), "{text}");
        text
    };
    session.client.batch_execute("INSERT INTO guests VALUES ('hidden', 1, 'x')").await.unwrap();
    let text = describe("INSERT INTO guests VALUES ('hidden', 1, 'x')").await;
    assert!(text.contains("\"guests_pkey\"") && text.contains("table \"guests\""), "{text}");
    let text = describe("INSERT INTO guests VALUES ('hidden2', -1, 'x')").await;
    assert!(text.contains("guests_age_check"), "{text}");
    let text = describe("INSERT INTO guests VALUES ('hidden2', 1, NULL)").await;
    assert!(text.contains("null value in column \"name\""), "{text}");
    assert_eq!(describe("SELECT 'hidden'::int").await, "invalid input syntax for type integer: \"…\"");
    let text = describe("SELECT gurke FROM guests").await;
    assert!(text.contains("gurke"), "{text}");
}
