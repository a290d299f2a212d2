#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn info(url: &str) -> ConnInfo {
    ConnInfo::resolve(Some(url), &|_| None, None).unwrap()
}

#[test]
fn a_redacted_url_names_all_but_the_password() {
    let cases = [
        ("postgres://app:geheim@db.example/shop", "postgres://app@db.example:5432/shop"),
        ("postgres://app:geheim@[::1]:6543/shop", "postgres://app@[::1]:6543/shop"),
        ("postgres://app:geheim@a,b:5433/shop", "postgres://app@a:5432,b:5433/shop"),
        ("postgres://app:geheim@%2Frun%2Fx/shop", "postgres://app@/shop?host=/run/x"),
        ("postgres://app:geheim@%2Frun%2Fx:5433/shop", "postgres://app@/shop?host=/run/x&port=5433"),
        ("postgres://a%40b:geheim@h/my%20shop%2F1", "postgres://a%40b@h:5432/my%20shop%2F1"),
        ("hostaddr=10.0.0.7 user=app password=geheim dbname=d", "postgres://app@10.0.0.7:5432/d"),
        ("host=/run/x,h user=app password=geheim dbname=d", "postgres://app@%2Frun%2Fx:5432,h:5432/d"),
    ];
    for (url, redacted) in cases {
        let info = info(url);
        assert_eq!(info.redacted(), redacted);
        assert_eq!(info.password.as_ref().unwrap().expose(), "geheim");
        assert!(!format!("{info:?} {info:#?}").contains("geheim"));
        // What is shown can be used again.
        assert_eq!(
            ConnInfo { password: info.password.clone(), ..self::info(redacted) }.hosts.len(),
            info.hosts.len()
        );
    }
}

#[test]
fn hosts_are_shown_with_brackets_and_socket_files() {
    let info = info("postgres://app@[fe80::1]:1,h:2,%2Frun:3/d");
    let shown: Vec<_> = info.hosts.iter().map(Host::display_with_port).collect();
    assert_eq!(shown, ["[fe80::1]:1", "h:2", "/run/.s.PGSQL.3"]);
    assert_eq!(info.display_host(), "fe80::1,h,/run");
    assert_eq!(info.redacted_for(&info.hosts[1]), "postgres://app@h:2/d");
}

#[test]
fn a_password_from_a_command_replaces_the_others() {
    let info = info("postgres://app:old@h/d").with_password_command("echo new").unwrap();
    assert_eq!(info.password_for(&info.hosts[0]).unwrap().expose(), "new");
}
