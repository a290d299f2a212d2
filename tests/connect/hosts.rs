//! Where servers are: sockets, several hosts, servers of another kind, and places where there is none.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pgkeep::postgres::connect::ConnectErrorKind;

use crate::{PASSWORD, failure, info, info_with, once, value, with_retries, world};

/// A port where nobody listens.
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn several(hosts: &str, ports: &str, more: &str) -> String {
    format!("host={hosts} port={ports} user=app dbname=shop password='{PASSWORD}' {more}")
}

#[tokio::test]
async fn a_unix_socket_is_used_without_tls_whatever_sslmode_says() {
    let (folder, port) = (world().cluster.socket_dir().display(), world().cluster.port);
    for mode in ["prefer", "require", "verify-full"] {
        let session =
            once(&info(&several(&folder.to_string(), &port.to_string(), &format!("sslmode={mode}"))))
                .await
                .unwrap();
        assert!(!session.tls);
        assert_eq!(session.url, format!("postgres://app@/shop?host={folder}&port={port}"));
    }
    let encoded = crate::support::percent_encoded(&folder.to_string());
    let url = format!("postgres://app@{encoded}:{port}/shop");
    let session = once(&info_with(&url, &[("PGPASSWORD", PASSWORD)], None)).await.unwrap();
    assert_eq!(value(&session, "SELECT inet_client_addr() IS NULL").await, "t");
    let error = failure(&info("host=/nowhere port=1 user=app dbname=shop")).await;
    assert!(error.is_transient(), "a server that starts makes its socket");
    assert!(error.to_string().contains("/nowhere/.s.PGSQL.1: there is no such socket"), "{error}");
}

#[tokio::test]
async fn the_first_host_that_answers_is_used() {
    let (dead, live) = (dead_port(), world().cluster.port);
    let session = once(&info(&several("127.0.0.1,127.0.0.1", &format!("{dead},{live}"), ""))).await.unwrap();
    assert_eq!(session.host.port, live);
    assert_eq!(session.url, format!("postgres://app@127.0.0.1:{live}/shop"));
    // A name that does not exist, then an address with a name beside it.
    let text = several("no-such-host.invalid,db.example", &live.to_string(), "hostaddr=,127.0.0.1");
    let session = once(&info(&text)).await.unwrap();
    assert_eq!(session.host.display(), "db.example");
}

#[tokio::test]
async fn when_no_host_will_do_each_says_why() {
    let (one, two) = (dead_port(), dead_port());
    let error = failure(&info(&several(
        "127.0.0.1,no-such-host.invalid,127.0.0.1",
        &format!("{one},{one},{two}"),
        "",
    )))
    .await;
    let text = error.to_string();
    assert!(text.starts_with("none of 3 hosts will do: "), "{text}");
    assert!(
        text.contains(&format!("127.0.0.1:{one}: connection refused (is the server running there?)")),
        "{text}"
    );
    assert!(text.contains("cannot look up host \"no-such-host.invalid\""), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{two}")), "{text}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_refuses_ends_the_search() {
    let live = world().cluster.port;
    let text = several("127.0.0.1,127.0.0.1", &live.to_string(), "").replace(PASSWORD, "wrong");
    let (outcome, notices) = with_retries(&info(&text), 3).await;
    assert_eq!((outcome.unwrap_err().hosts.len(), notices.len()), (1, 0));
    let text =
        several("127.0.0.1,127.0.0.1", &format!("{},{live}", dead_port()), "").replace(PASSWORD, "wrong");
    let (outcome, notices) = with_retries(&info(&text), 3).await;
    assert_eq!((outcome.unwrap_err().hosts.len(), notices.len()), (2, 0));
}

#[tokio::test]
async fn the_kind_of_server_is_asked_for() {
    let port = world().cluster.port.to_string();
    let with = |user: &str, target: &str| {
        let text = several("127.0.0.1", &port, &format!("target_session_attrs={target}"));
        info(&text.replace("user=app", &format!("user={user}")))
    };
    for (user, target) in [
        ("app", "any"),
        ("app", "read-write"),
        ("app", "primary"),
        ("app", "prefer-standby"),
        ("reader", "read-only"),
    ] {
        assert!(once(&with(user, target)).await.is_ok(), "{user} {target}");
    }
    for (user, target, part) in [
        ("app", "read-only", "allows writes"),
        ("reader", "read-write", "does not allow writes"),
        ("app", "standby", "is not a standby"),
    ] {
        let error = failure(&with(user, target)).await;
        assert_eq!(error.kind(), ConnectErrorKind::WrongTarget);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_listener_that_never_answers_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let start = Instant::now();
    let error = failure(&info(&several("127.0.0.1", &port.to_string(), "connect_timeout=1"))).await;
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!((error.kind(), error.is_transient()), (ConnectErrorKind::Timeout, true));
    assert!(error.to_string().contains("no answer within 1 s"), "{error}");
    let live = world().cluster.port;
    let text = several("127.0.0.1,127.0.0.1", &format!("{port},{live}"), "connect_timeout=1");
    assert_eq!(once(&info(&text)).await.unwrap().host.port, live);
}

#[tokio::test]
async fn what_is_no_postgres_is_told_apart() {
    for mode in ["disable", "prefer", "require"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let _ = socket.read(&mut [0; 256]);
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let error = failure(&info(&several(
            "127.0.0.1",
            &port.to_string(),
            &format!("sslmode={mode} connect_timeout=2"),
        )))
        .await;
        let kind = if mode == "require" { ConnectErrorKind::NoTls } else { ConnectErrorKind::NotPostgres };
        assert_eq!((error.kind(), error.is_transient()), (kind, false), "{error}");
    }
}
