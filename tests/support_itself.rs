//! The tests' own tools do what the other tests take for granted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{Cluster, Cut, Options, PASSWORD, Pgkeep, Proxy, majors, query, shared, try_query};

#[test]
fn every_installed_major_starts_and_answers() {
    for major in majors() {
        let cluster = shared(Some(major));
        let version = cluster.query("postgres", "SHOW server_version_num")[0][0].clone().unwrap();
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, major);
    }
}

#[test]
fn a_server_killed_and_restarted_keeps_what_was_committed() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("kept");
    database.execute("CREATE TABLE t AS SELECT 1 AS n; CHECKPOINT");
    cluster.kill_9();
    assert!(try_query(&database.url, "SELECT 1").is_err());
    cluster.restart();
    assert_eq!(database.value("SELECT n FROM t"), "1");
}

#[test]
fn dropping_a_cluster_ends_the_server_and_removes_its_folder() {
    let cluster = Cluster::start(Options::default());
    let (folder, pid) = (cluster.socket_dir().to_owned(), cluster.pid());
    drop(cluster);
    assert!(!folder.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_password_is_asked_for_and_other_encodings_are_to_be_had() {
    let options = Options { encoding: Some("LATIN1".into()), ..Options::default() };
    let cluster = Cluster::start(options);
    assert_eq!(cluster.query("postgres", "SHOW server_encoding")[0][0].as_deref(), Some("LATIN1"));
    let refused = try_query(&cluster.url_as("postgres", "wrong", "postgres"), "SELECT 1");
    assert!(refused.unwrap_err().contains("28P01"));
}

#[test]
fn a_digest_tells_rows_and_sequences_apart_and_nothing_else() {
    let database = shared(None).database("digest");
    database.execute(
        "CREATE TABLE \"a b\" (n serial, v text); INSERT INTO \"a b\" (v) VALUES ('x'), (NULL), ('x')",
    );
    let before = database.digest();
    assert_eq!(before.len(), 2);
    database.execute(
        "BEGIN; DELETE FROM \"a b\"; INSERT INTO \"a b\" VALUES (3, 'x'), (2, NULL), (1, 'x'); COMMIT",
    );
    assert_eq!(database.digest(), before);
    database.execute("SELECT nextval('\"a b_n_seq\"')");
    assert_ne!(database.digest(), before);
}

#[test]
fn a_proxy_forwards_cuts_after_a_number_of_bytes_and_stalls() {
    let cluster = shared(None);
    let proxy = Proxy::to(cluster.port);
    let url = proxy.url(&cluster.url("postgres"), cluster.port);
    assert_eq!(query(&url, "SELECT 1")[0][0].as_deref(), Some("1"));
    for how in [Cut::Close, Cut::Reset] {
        proxy.cut_after(100_000, how);
        let before = proxy.forwarded();
        assert!(try_query(&url, "SELECT repeat('x', 1000000)").is_err());
        assert_eq!(proxy.forwarded() - before, 100_000);
        assert!(proxy.has_cut());
        assert_eq!(query(&url, "SELECT 1").len(), 1);
    }
    proxy.refuse(true);
    assert!(try_query(&url, "SELECT 1").is_err());
    proxy.refuse(false);
    proxy.stall();
    let query_thread = std::thread::spawn(move || query(&url, "SELECT 2"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!query_thread.is_finished());
    proxy.resume();
    assert_eq!(query_thread.join().unwrap()[0][0].as_deref(), Some("2"));
}

#[test]
fn a_reset_reaches_the_client_as_a_reset() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(server.local_addr().unwrap().port());
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    client.write_all(b"hello").unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    let mut hello = [0; 5];
    accepted.read_exact(&mut hello).unwrap();
    proxy.cut(Cut::Reset);
    let error = client.read(&mut hello).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
#[should_panic(expected = "the secret is in")]
fn a_secret_in_a_compressed_file_is_found() {
    let pgkeep = Pgkeep::new();
    let file = std::fs::File::create(pgkeep.dir().join("log.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    write!(encoder, "url=postgres://x:{}@host", support::percent_encoded(PASSWORD)).unwrap();
    encoder.finish().unwrap();
    pgkeep.assert_secret_nowhere(PASSWORD, &[]);
}

#[test]
fn the_program_runs_in_a_folder_of_its_own_without_our_environment() {
    let pgkeep = Pgkeep::on("postgres://nobody@127.0.0.1:1/none");
    let run = pgkeep.run::<&str>(&[]);
    assert!(run.code.is_some());
    assert!(pgkeep.files("nowhere").is_empty());
}
