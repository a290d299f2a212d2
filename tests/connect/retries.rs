//! Failures that pass by themselves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use pgkeep::postgres::connect::{ConnectErrorKind, RetryPolicy};

use crate::support::{Cluster, Options, wait_until};
use crate::{PASSWORD, failure, info, once, url, with_retries, world};

#[test]
fn pauses_double_up_to_a_limit() {
    let policy = RetryPolicy::default();
    let pauses: Vec<u128> = (1..=7).map(|attempt| policy.delay_after(attempt).as_millis()).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
    assert_eq!(policy.delay_after(u32::MAX), Duration::from_secs(8));
    assert_eq!(policy.attempts, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_up_is_connected_at_last() {
    let cluster = Cluster::start(Options::default());
    let info = info(&cluster.url("postgres"));
    cluster.stop();
    let error = failure(&info).await;
    assert_eq!((error.kind(), error.is_transient()), (ConnectErrorKind::Unreachable, true));
    let restarted = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(250));
        cluster.restart();
        cluster
    });
    let (outcome, notices) = with_retries(&info, 8).await;
    outcome.unwrap();
    assert_eq!((notices[0].attempt, notices[0].of), (1, 8));
    assert!(notices[0].reason.contains("connection refused"), "{notices:?}");
    assert!(!format!("{notices:?}").contains("sesame"));
    drop(restarted.await.unwrap());
}

/// Answers as many times as there are `refusals` with an error of that SQLSTATE and text, then forwards to the server.
fn refusing(refusals: &'static [(&'static str, &'static str)]) -> u16 {
    let server = world().cluster.port;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (code, text) in refusals {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 1024]);
            let fields = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
            let length = u32::try_from(fields.len() + 4).unwrap();
            let _ = socket.write_all(&[b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat());
        }
        let (mut client, _) = listener.accept().unwrap();
        let mut upstream = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let (mut client_reads, mut server_writes) =
            (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut client_reads, &mut server_writes));
        let _ = std::io::copy(&mut upstream, &mut client);
    });
    port
}

#[tokio::test]
async fn a_server_that_starts_up_is_waited_for() {
    let port = refusing(&[
        ("57P03", "the database system is starting up"),
        ("53300", "sorry, too many clients already"),
        ("08006", "server conn crashed?"),
    ]);
    let url =
        format!("host=127.0.0.1 port={port} user=app dbname=shop password='{PASSWORD}' sslmode=disable");
    let (outcome, notices) = with_retries(&info(&url), 5).await;
    outcome.unwrap();
    let reasons: Vec<_> = notices.iter().map(|notice| notice.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            format!("the server at 127.0.0.1:{port} is not ready: the database system is starting up"),
            format!("the server at 127.0.0.1:{port} has no free connection: sorry, too many clients already"),
            format!("the server at 127.0.0.1:{port} is not ready: server conn crashed?"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_waited_out() {
    let info = info(&url("single", "shop", ""));
    let first = once(&info).await.unwrap();
    let error = failure(&info).await;
    assert_eq!((error.kind(), error.is_transient()), (ConnectErrorKind::TooManyConnections, true));
    let (outcome, notices) = with_retries(&info, 2).await;
    let error = outcome.unwrap_err();
    assert_eq!((notices.len(), error.attempts), (1, 2));
    assert!(error.to_string().ends_with("(tried 2 times)"), "{error}");
    let freed = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        first.close().await;
    });
    let (outcome, notices) = with_retries(&info, 6).await;
    drop(outcome.unwrap());
    assert!(!notices.is_empty());
    freed.await.unwrap();
    wait_until("the session ends", 10, || {
        world()
            .cluster
            .query("postgres", "SELECT 1 FROM pg_stat_activity WHERE usename = 'single'")
            .is_empty()
    });
}
