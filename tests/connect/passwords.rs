//! Passwords: of every kind, from every place, and never shown.

use std::os::unix::fs::PermissionsExt;

use pgkeep::postgres::connect::ConnectErrorKind;

use crate::{PASSWORD, failure, info, info_with, once, url, value, with_retries, world};

#[tokio::test]
async fn scram_md5_and_clear_passwords_with_awkward_characters_work() {
    for user in ["app", "old", "clear"] {
        for mode in ["disable", "require"] {
            let session = once(&info(&url(user, "shop", &format!("sslmode={mode}")))).await.unwrap();
            assert_eq!(value(&session, "SELECT current_user").await, user);
            assert!(!format!("{session:?}").contains("sesame"));
            assert_eq!(session.url, format!("postgres://{user}@127.0.0.1:{}/shop", world().cluster.port));
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again() {
    let wrong = world().cluster.url_as("app", "not sesame", "shop");
    let (outcome, notices) = with_retries(&info(&wrong), 5).await;
    let error = outcome.unwrap_err();
    assert!(notices.is_empty());
    assert_eq!(
        (error.kind(), error.attempts, error.is_transient()),
        (ConnectErrorKind::Authentication, 1, false)
    );
    let port = world().cluster.port;
    assert_eq!(
        error.to_string(),
        format!("password authentication failed for user \"app\" at 127.0.0.1:{port}")
    );
}

#[tokio::test]
async fn a_missing_password_is_asked_for() {
    for user in ["app", "old", "clear"] {
        let text = format!("host=127.0.0.1 port={} user={user} dbname=shop", world().cluster.port);
        let error = failure(&info(&text)).await;
        assert_eq!(error.kind(), ConnectErrorKind::Authentication);
        assert!(error.to_string().contains("and none was given"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_database_role_or_right_is_named_and_not_tried_again() {
    let (outcome, notices) = with_retries(&info(&url("app", "shopp", "")), 5).await;
    let error = outcome.unwrap_err();
    assert!(notices.is_empty());
    assert_eq!(error.kind(), ConnectErrorKind::NoSuchDatabase);
    assert!(error.to_string().starts_with("database \"shopp\" does not exist at 127.0.0.1:"), "{error}");
    let error = failure(&info(&url("old", "tlsonly", "sslmode=require"))).await;
    assert_eq!(error.kind(), ConnectErrorKind::NotPermitted);
    let text = error.to_string();
    assert!(text.contains("user \"old\" may not connect to database \"tlsonly\""), "{text}");
    let socket = world().cluster.socket_dir().display();
    let text = format!("host={socket} port={} user=nobody dbname=trusting", world().cluster.port);
    let error = failure(&info(&text)).await;
    assert_eq!(error.kind(), ConnectErrorKind::Authentication);
    assert!(error.to_string().contains("role \"nobody\" does not exist"), "{error}");
}

#[tokio::test]
async fn passwords_come_from_pgpass_a_service_the_environment_a_file_and_a_command() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let port = world().cluster.port;
    let escaped = PASSWORD.replace('\\', r"\\").replace(':', r"\:");
    write(".pgpass", &format!("127.0.0.1:{port}:shop:app:{escaped}\n"));
    let text = format!("postgres://app@127.0.0.1:{port}/shop");
    once(&info_with(&text, &[], Some(home.path()))).await.unwrap();

    let service =
        format!("[shop]\nhost=127.0.0.1\nport={port}\nuser=app\ndbname=shop\npassword={PASSWORD}\n");
    write(".pg_service.conf", &service);
    once(&info_with("service=shop", &[], Some(home.path()))).await.unwrap();
    once(&info_with("postgres://", &[("PGSERVICE", "shop")], Some(home.path()))).await.unwrap();

    once(&info_with(&text, &[("PGPASSWORD", PASSWORD)], None)).await.unwrap();
    let file = write("password", &format!("{PASSWORD}\n"));
    once(&info(&text).with_password_file(&file).unwrap()).await.unwrap();
    let command = format!("printf %s '{PASSWORD}'");
    once(&info(&text).with_password_command(&command).unwrap()).await.unwrap();
}
