#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::postgres::conninfo::{ChannelBinding, Host, RootCert, SslMode, TargetSession, TlsVersion};

/// Resolves with an environment of `NAME=value` words and a home folder.
fn resolve(url: Option<&str>, environment: &[&str], home: Option<&Path>) -> Result<ConnInfo, ConnInfoError> {
    let variables: HashMap<&str, &str> =
        environment.iter().map(|word| word.split_once('=').unwrap()).collect();
    let lookup = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    ConnInfo::resolve(url, &lookup, home)
}

fn plain(url: &str) -> ConnInfo {
    resolve(Some(url), &["USER=os"], None).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn refusal(url: &str) -> String {
    resolve(Some(url), &["USER=os"], None).unwrap_err().to_string()
}

/// `user password host:port,… database`, with `-` for no password.
fn summary(info: &ConnInfo) -> String {
    let hosts: Vec<_> = info.hosts.iter().map(Host::display_with_port).collect();
    let password = info.password.as_ref().map_or("-", |secret| secret.expose());
    format!("{} {password} {} {}", info.user, hosts.join(","), info.dbname)
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    let cases = [
        ("postgresql://uri-user:secret@host:12345/db", "uri-user secret host:12345 db"),
        ("postgres://uri-user@host:12345/db", "uri-user - host:12345 db"),
        ("postgresql://uri-user@host/", "uri-user - host:5432 uri-user"),
        ("postgresql://host:12345/db", "os - host:12345 db"),
        ("postgresql://host/", "os - host:5432 os"),
        ("postgresql://host", "os - host:5432 os"),
        ("postgresql://uri-user:@host/db", "uri-user - host:5432 db"),
        ("postgresql://@host", "os - host:5432 os"),
        ("postgresql://host:/db", "os - host:5432 db"),
        ("postgresql://h/db?user=u&port=1&password=p%20w", "u p w h:1 db"),
        ("postgresql://h/db?dbname=other&host=g", "os - g:5432 other"),
        ("postgresql://[::1]:12345/db", "os - [::1]:12345 db"),
        ("postgresql://u:p@[2001:db8::1234]/", "u p [2001:db8::1234]:5432 u"),
        ("postgresql://[200z:db8::1234]", "os - [200z:db8::1234]:5432 os"),
        ("postgres://u@%2Fvar%2Frun%2Fx:6000/db", "u - /var/run/x/.s.PGSQL.6000 db"),
        ("postgres://u@/db?host=/path/to/socket/dir", "u - /path/to/socket/dir/.s.PGSQL.5432 db"),
        ("postgres://a:1,b,c:3/db", "os - a:1,b:5432,c:3 db"),
        ("postgres://a,[::1]:7/db", "os - a:5432,[::1]:7 db"),
        ("postgres://a,b/db?port=9", "os - a:9,b:9 db"),
        ("postgres://%75%73:p%40%3A%2F%25@h%65/d%62", "us p@:/% he:5432 db"),
        ("postgres://app:p:q?r#s@h/db", "app p:q?r#s h:5432 db"),
        ("postgres://h/db?user=a@b", "a@b - h:5432 db"),
        ("postgres://h:7/db?user=a@b", "a@b - h:7 db"),
    ];
    for (url, expected) in cases {
        assert_eq!(summary(&plain(url)), expected, "{url}");
    }
}

#[test]
fn key_value_strings_are_read_as_libpq_reads_them() {
    let cases = [
        ("host=h port=1 user=u dbname=d", "u - h:1 d"),
        ("  host = h\tuser= u \n dbname =d ", "u - h:5432 d"),
        (r"user='a b' password='it\'s \\ ' host=h dbname=x\ y", r"a b it's \  h:5432 x y"),
        ("host=h user='' dbname=''", "os - h:5432 os"),
        ("host=a,b port=1,2 user=u", "u - a:1,b:2 u"),
        ("host=a,b port=7 user=u", "u - a:7,b:7 u"),
        ("hostaddr=10.0.0.1,::1 user=u", "u - 10.0.0.1:5432,[::1]:5432 u"),
        ("host=h hostaddr=10.0.0.1 user=u", "u - h:5432 u"),
        ("host=h user=a user=b", "b - h:5432 b"),
    ];
    for (text, expected) in cases {
        assert_eq!(summary(&plain(text)), expected, "{text}");
    }
    assert_eq!(plain("shop").dbname, "shop");
}

#[test]
fn bad_strings_are_refused_with_a_reason() {
    let cases = [
        ("postgres://u:p@[::1/db", "closing bracket"),
        ("postgres://u:p@[]/db", "empty"),
        ("postgres://[::1]z/db", "after the IPv6"),
        ("postgres://h/%zz", "database name in the connection URL holds a %"),
        ("postgres://u:p%4@h/db", "password in the connection URL holds a %"),
        ("postgres://u:p%00@h/db", "%00"),
        ("postgres://u:p%ff@h/db", "UTF-8"),
        ("postgres://h/db?user", "parameter 1"),
        ("postgres://h/db?user=a&", "parameter 2"),
        ("postgres://h/db?user=a=b", "parameter 1"),
        ("postgres://h/db?zzz=1", "unknown connection parameter \"zzz\""),
        ("host=h zzz=1", "unknown connection parameter \"zzz\""),
        ("postgres://h:0/db", "port must be"),
        ("postgres://h:65536/db", "port must be"),
        ("host=a,b,c port=1,2", "3 hosts but 2 ports"),
        ("host=a,b hostaddr=10.0.0.1", "2 hosts but 1 addresses"),
        ("hostaddr=nonsense", "IP address"),
        ("host=h user", "lacks its ="),
        ("host='h", "closing quote"),
        ("host=@abstract", "abstract"),
        ("mysql://h/db?a=b", "must start with postgres://"),
        ("postgres//h/db", "neither a URL"),
        ("", "neither a URL"),
        ("host=h sslmode=maybe", "sslmode must be"),
        ("host=h gssencmode=require", "GSS"),
        ("host=h replication=database", "replication"),
        ("host=h client_encoding=LATIN1", "UTF8"),
        ("host=h sslcrl=x", "revocation"),
        ("host=h require_auth=none", "require_auth"),
        ("host=h connect_timeout=soon", "whole number"),
        ("host=h sslrootcert=system sslmode=require", "verify-full"),
        ("host=h sslnegotiation=direct", "sslmode=require"),
        ("host=h target_session_attrs=any-old", "read-write"),
    ];
    for (text, part) in cases {
        let refusal = refusal(text);
        assert!(refusal.contains(part), "{text}: {refusal}");
    }
}

#[test]
fn a_password_that_was_not_encoded_gets_a_hint_and_is_never_shown() {
    let strings = [
        "postgres://app:SECRET@SECRET@db:5432/shop",
        "postgres://app:SECRET/SECRET@db:5432/shop",
        "postgres://app:SECRET@SECRET/SECRET@db/shop",
        "postgres://app:SEC%RET@db/shop",
        "postgres://app:SECRET@secret?secret=x@db/shop",
        "postgres://app:SECRET@secret?SECRET@db/shop",
        "postgres://app:12/secret?secret=x@db/shop",
        "postgres:/app:SECRET@db/shop?a=b",
        "postgres:app:SECRET@db/shop",
        "mysql://app:SECRET@db/shop?a=b",
        "host=h password=my secret=x user=u",
        "host=h password=my secret user=u",
        "host=h password='my secret user=u",
        "host=h SECRET=1",
    ];
    for text in strings {
        let error = resolve(Some(text), &["USER=os"], None).unwrap_err();
        let shown = format!("{error} {error:?} {error:#?}").to_lowercase();
        assert!(!shown.contains("secret"), "{text}: {shown}");
    }
    assert!(refusal("postgres://app:p@ss@db/shop").contains("percent-encode the password"));
    assert!(refusal("postgres://app:p/ss@db/shop").contains("percent-encode the password"));
}

#[test]
fn the_string_beats_the_service_beats_the_environment_beats_defaults() {
    let home = tempfile::tempdir().unwrap();
    let file = "[s]\nhost=service-host\nport=1\nuser=service-user\nsslmode=require\n";
    std::fs::write(home.path().join(".pg_service.conf"), file).unwrap();
    let environment = ["PGSERVICE=s", "PGHOST=env-host", "PGUSER=env-user", "PGDATABASE=env-db", "PGPORT=2"];
    let info = resolve(Some("postgres://url-user@/?port=3"), &environment, Some(home.path())).unwrap();
    assert_eq!(summary(&info), "url-user - service-host:3 env-db");
    assert_eq!(info.tls.mode, SslMode::Require);
    let info = resolve(None, &environment[1..], Some(home.path())).unwrap();
    assert_eq!(summary(&info), "env-user - env-host:2 env-db");
    let info = resolve(Some("service=s host=h"), &[], Some(home.path())).unwrap();
    assert_eq!(summary(&info), "service-user - h:1 service-user");
    let error = resolve(Some("service=t"), &[], Some(home.path())).unwrap_err().to_string();
    assert!(error.contains("service \"t\" is not found"), "{error}");
}

#[test]
fn the_environment_alone_is_enough() {
    let environment = [
        "PGHOST=h",
        "PGHOSTADDR=10.0.0.1",
        "PGPORT=6",
        "PGDATABASE=d",
        "PGUSER=u",
        "PGPASSWORD=p@:/%",
        "PGSSLMODE=verify-full",
        "PGSSLROOTCERT=/ca.pem",
        "PGSSLCERT=/c.pem",
        "PGSSLKEY=/k.pem",
        "PGOPTIONS=-c work_mem=1MB",
        "PGAPPNAME=night",
        "PGCONNECT_TIMEOUT=3",
        "PGTARGETSESSIONATTRS=read-write",
        "PGCHANNELBINDING=require",
        "PGGSSENCMODE=disable",
        "PGSSLMINPROTOCOLVERSION=TLSv1.3",
    ];
    let info = resolve(None, &environment, None).unwrap();
    assert_eq!(summary(&info), "u p@:/% h:6 d");
    assert_eq!(info.tls.mode, SslMode::VerifyFull);
    assert_eq!(info.tls.root, Some(RootCert::File("/ca.pem".into())));
    assert_eq!(info.tls.client.as_ref().unwrap().key, Path::new("/k.pem"));
    assert_eq!(info.tls.oldest, TlsVersion::V1_3);
    assert_eq!(info.options.as_deref(), Some("-c work_mem=1MB"));
    assert_eq!(info.application_name, "night");
    assert_eq!(info.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(info.target, TargetSession::ReadWrite);
    assert_eq!(info.channel_binding, ChannelBinding::Require);
    assert!(!format!("{info:?}").contains("p@:/%"));
}

#[test]
fn defaults_are_those_of_the_design() {
    let info = plain("host=h");
    assert_eq!((info.application_name.as_str(), info.tls.mode), ("pgkeep", SslMode::Prefer));
    assert_eq!(info.connect_timeout, Some(Duration::from_secs(10)));
    assert_eq!(plain("host=h connect_timeout=0").connect_timeout, None);
    assert_eq!(plain("host=h requiressl=1").tls.mode, SslMode::Require);
    assert_eq!(plain("postgres://h/d?ssl=true").tls.mode, SslMode::Require);
    assert_eq!(plain("host=h sslrootcert=system").tls.mode, SslMode::VerifyFull);
    assert!(plain("postgres://h/d?pgbouncer=true&connection_limit=1").pooler);
    assert!(plain("postgres://h/d?sslmode=require&supa=base-pooler.x").pooler);
    assert!(plain("postgres://h/d?connection_limit=1").warnings[0].contains("connection_limit"));
    assert!(!plain("host=h keepalives=0").keepalives.enabled);
    // Without any name the system's own list of users knows who we are.
    assert!(!resolve(Some("host=h"), &[], None).unwrap().user.is_empty());
}

#[test]
fn files_in_the_home_folder_are_found() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    std::fs::create_dir(&folder).unwrap();
    for name in ["root.crt", "postgresql.crt"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let info = resolve(Some("host=h user=u"), &[], Some(home.path())).unwrap();
    assert_eq!(info.tls.root, Some(RootCert::File(folder.join("root.crt"))));
    assert_eq!(info.tls.client.unwrap().key, folder.join("postgresql.key"));
    let info = resolve(Some("host=h user=u sslcertmode=disable"), &[], Some(home.path())).unwrap();
    assert_eq!(info.tls.client, None);
}

#[test]
fn the_password_file_serves_each_host_its_own() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".pgpass");
    let content = "a:1:d:u:for-a\nlocalhost:*:*:*:for-local\n/run/x:5432:d:u:for-x\n";
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = "host=a,/var/run/postgresql,/run/x,other port=1,5432,5432,5432 user=u dbname=d";
    let info = resolve(Some(url), &[], Some(home.path())).unwrap();
    let passwords: Vec<_> =
        info.hosts.iter().map(|host| info.password_for(host).map_or("-", |secret| secret.expose())).collect();
    assert_eq!(passwords, ["for-a", "for-local", "for-x", "-"]);
    let info = resolve(Some(&format!("{url} password=own")), &[], Some(home.path())).unwrap();
    assert_eq!(info.password_for(&info.hosts[0]).unwrap().expose(), "own");
    let named = format!("PGPASSFILE={}", path.display());
    let info = resolve(Some("host=a port=1 user=u dbname=d"), &[&named], None).unwrap();
    assert_eq!(info.password_for(&info.hosts[0]).unwrap().expose(), "for-a");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let info = resolve(Some("host=a port=1 user=u dbname=d"), &[&named], None).unwrap();
    assert_eq!(info.password_for(&info.hosts[0]), None);
    assert!(info.warnings[0].contains("others may read it"));
}

/// Percent-encodes everything.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

proptest::proptest! {
    #[test]
    fn any_string_is_read_or_refused(text in ".*", tail in ".*") {
        for text in [text.clone(), format!("postgres://{text}"), format!("postgres://u:{text}@{tail}"), format!("host={text} {tail}")] {
            let _ = dsn::parse(&text);
        }
    }

    #[test]
    fn any_name_and_password_survive_a_url_and_a_pair(user in "[^\0]+", password in "[^\0]+", dbname in "[^\0]+") {
        let url = format!("postgres://{}:{}@h/{}", encoded(&user), encoded(&password), encoded(&dbname));
        let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
        let pairs =
            format!("host=h user={} password={} dbname={}", quoted(&user), quoted(&password), quoted(&dbname));
        for text in [url, pairs] {
            let info = plain(&text);
            proptest::prop_assert_eq!((&info.user, &info.dbname), (&user, &dbname));
            proptest::prop_assert_eq!(info.password.as_ref().unwrap().expose(), &password);
            // The redacted form leads to the same place.
            let again = plain(&info.redacted());
            proptest::prop_assert_eq!((&again.user, &again.dbname, &again.hosts), (&user, &dbname, &info.hosts));
        }
    }
}
