//! Every `sslmode` against a server that speaks TLS, and certificates that are not in order.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use pgkeep::postgres::connect::ConnectErrorKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::Pair;
use crate::{failure, info, info_with, once, url, value, world};

const ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

async fn is_encrypted(url: &str) -> bool {
    let session = once(&info(url)).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    assert_eq!(session.tls, value(&session, ENCRYPTED).await == "t");
    session.tls
}

#[tokio::test]
async fn each_mode_uses_tls_as_libpq_would() {
    for (mode, database, encrypted) in [
        ("disable", "shop", false),
        ("allow", "shop", false),
        ("allow", "tlsonly", true),
        ("prefer", "shop", true),
        ("prefer", "plainonly", false),
        ("require", "shop", true),
    ] {
        let url = url("app", database, &format!("sslmode={mode}"));
        assert_eq!(is_encrypted(&url).await, encrypted, "{mode} {database}");
    }
    let root = world().certificates.parameter("ca.crt");
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        let url = url("app", "tlsonly", &format!("sslmode={mode}&sslrootcert={root}"));
        assert!(is_encrypted(&url).await, "{mode}");
    }
}

#[tokio::test]
async fn a_mode_that_the_server_does_not_allow_is_refused_with_its_words() {
    let error = failure(&info(&url("app", "tlsonly", "sslmode=disable"))).await;
    assert_eq!(error.kind(), ConnectErrorKind::Authentication);
    assert!(error.to_string().contains("no encryption"), "{error}");
    let error = failure(&info(&url("app", "plainonly", "sslmode=require"))).await;
    assert!(error.to_string().contains("SSL encryption"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn direct_negotiation_is_refused_by_a_server_that_does_not_know_it() {
    let error = failure(&info(&url("app", "shop", "sslmode=require&sslnegotiation=direct"))).await;
    assert!(error.to_string().contains("cannot connect to 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_all_modes_that_have_a_root() {
    let other = world().certificates.parameter("other.crt");
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = failure(&info(&url("app", "shop", &format!("sslmode={mode}&sslrootcert={other}")))).await;
        assert_eq!(error.kind(), ConnectErrorKind::Tls);
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(text.contains("not signed by an authority in") && text.contains("other.crt"), "{text}");
    }
    // The weak modes do without TLS then, as libpq does.
    assert!(!is_encrypted(&url("app", "shop", &format!("sslmode=prefer&sslrootcert={other}"))).await);
}

#[tokio::test]
async fn a_certificate_for_other_names_is_refused_by_verify_full_only() {
    let root = world().certificates.parameter("ca.crt");
    let port = world().cluster.port;
    let with = |mode: &str, host: &str| {
        info(&format!(
            "host={host} hostaddr=127.0.0.1 port={port} user=app dbname=shop sslmode={mode} \
             sslrootcert='{}' password='{}'",
            world().certificates.path("ca.crt").display(),
            crate::PASSWORD
        ))
    };
    assert!(once(&with("verify-full", "db.example")).await.unwrap().tls);
    assert!(once(&with("verify-ca", "wrong.example")).await.unwrap().tls);
    let text = failure(&with("verify-full", "wrong.example")).await.to_string();
    assert!(text.contains("for other names (db.example, 127.0.0.1), not wrong.example"), "{text}");
    let url = url("app", "shop", &format!("sslmode=verify-full&sslrootcert={root}"))
        .replace("127.0.0.1", "localhost");
    let text = failure(&info(&url)).await.to_string();
    assert!(text.contains("not localhost"), "{text}");
}

#[tokio::test]
async fn verification_without_a_root_certificate_says_what_to_set() {
    for mode in ["verify-ca", "verify-full"] {
        let error = failure(&info(&url("app", "shop", &format!("sslmode={mode}")))).await;
        assert_eq!(error.kind(), ConnectErrorKind::Settings);
        let text = error.to_string();
        assert!(text.contains(mode) && text.contains("set sslrootcert"), "{text}");
    }
    let text =
        failure(&info(&url("app", "shop", "sslmode=require&sslrootcert=%2Fnone.crt"))).await.to_string();
    assert!(text.contains("/none.crt"), "{text}");
    // The system trusts public authorities, none of which signed this server's certificate.
    let text = failure(&info(&url("app", "shop", "sslrootcert=system"))).await.to_string();
    assert!(text.contains("this system trusts") || text.contains("ca-certificates"), "{text}");
}

#[tokio::test]
async fn a_root_certificate_in_the_home_folder_is_used() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(world().certificates.path("other.crt"), folder.join("root.crt")).unwrap();
    let url = url("app", "shop", "sslmode=require");
    let error = failure(&info_with(&url, &[], Some(home.path()))).await;
    assert_eq!(error.kind(), ConnectErrorKind::Tls);
    std::fs::copy(world().certificates.path("ca.crt"), folder.join("root.crt")).unwrap();
    assert!(once(&info_with(&url, &[], Some(home.path()))).await.unwrap().tls);
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_it_is_asked_for() {
    let certificates = &world().certificates;
    let with = |name: &str| {
        let (cert, key) =
            (certificates.parameter(&format!("{name}.crt")), certificates.parameter(&format!("{name}.key")));
        info(&url("app", "certonly", &format!("sslmode=require&sslcert={cert}&sslkey={key}")))
    };
    assert!(once(&with("app")).await.unwrap().tls);
    let text = failure(&with("stranger")).await.to_string();
    assert!(text.contains("does not know the authority that signed the client certificate"), "{text}");
    let error = failure(&info(&url("app", "certonly", "sslmode=require"))).await;
    assert!(error.to_string().contains("valid client certificate"), "{error}");
    assert_eq!(error.kind(), ConnectErrorKind::Authentication);
}

#[tokio::test]
async fn a_key_that_others_may_read_or_that_is_encrypted_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("loose.key");
    let with = || {
        let (cert, key) = (
            world().certificates.parameter("app.crt"),
            crate::support::percent_encoded(key.to_str().unwrap()),
        );
        info(&url("app", "shop", &format!("sslmode=require&sslcert={cert}&sslkey={key}")))
    };
    std::fs::copy(world().certificates.path("app.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(failure(&with()).await.to_string().contains("may be read by others"));
    std::fs::write(
        &key,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(failure(&with()).await.to_string().contains("is encrypted"));
    std::fs::copy(world().certificates.path("stranger.key"), &key).unwrap();
    assert!(failure(&with()).await.to_string().contains("client certificate"));
}

/// A server that agrees to TLS, shows `pair`, and hangs up after the handshake. Returns its port.
fn tls_server(pair: &Pair) -> u16 {
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // SSLRequest is eight bytes; 'S' says yes.
        socket.read_exact(&mut [0; 8]).unwrap();
        socket.write_all(b"S").unwrap();
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        while tls.is_handshaking() && tls.complete_io(&mut socket).is_ok() {}
    });
    port
}

/// What pgkeep says of a server that shows `pair`; after a good handshake, that the server hung up.
async fn opinion(pair: &Pair, root: &str, host: &str) -> String {
    let root = world().certificates.path(root);
    let text = format!(
        "host={host} hostaddr=127.0.0.1 port={} user=app sslmode=verify-full sslrootcert='{}'",
        tls_server(pair),
        root.display()
    );
    failure(&info(&text)).await.to_string()
}

#[tokio::test]
async fn certificates_that_are_not_in_order_are_explained() {
    let certificates = &world().certificates;
    let text = opinion(&certificates.expired(), "ca.crt", "127.0.0.1").await;
    assert!(text.contains("the server's certificate expired on 2020-01-01"), "{text}");
    let self_signed = certificates.self_signed("self.crt");
    let text = opinion(&self_signed, "ca.crt", "127.0.0.1").await;
    assert!(
        text.contains("give that very certificate as sslrootcert") || text.contains("not signed by"),
        "{text}"
    );
}

#[tokio::test]
async fn certificates_as_people_make_them_for_themselves_are_accepted() {
    let certificates = &world().certificates;
    let self_signed = certificates.self_signed("pinned.crt");
    let text = opinion(&self_signed, "pinned.crt", "127.0.0.1").await;
    assert!(!text.contains("certificate"), "{text}");
    let text = opinion(&self_signed, "pinned.crt", "wrong.example").await;
    assert!(text.contains("not wrong.example"), "{text}");
    let named = certificates.without_alternative_names("db.example");
    let text = opinion(&named, "ca.crt", "db.example").await;
    assert!(!text.contains("certificate"), "{text}");
    let text = opinion(&named, "ca.crt", "wrong.example").await;
    assert!(text.contains("does not name wrong.example"), "{text}");
    let wild = certificates.without_alternative_names("*.example");
    assert!(!opinion(&wild, "ca.crt", "db.example").await.contains("certificate"));
    assert!(opinion(&wild, "ca.crt", "a.db.example").await.contains("does not name"));
}

#[tokio::test]
async fn channel_binding_works_with_tls_and_is_missed_without() {
    let url = |rest: &str| url("app", "shop", &format!("channel_binding=require&{rest}"));
    assert!(is_encrypted(&url("sslmode=require")).await);
    let text = failure(&info(&url("sslmode=disable"))).await.to_string();
    assert!(text.contains("channel binding"), "{text}");
}
