//! TLS by libpq's rules over rustls: what is trusted, what the client shows, and what a failure means.
//!
//! The crypto provider is always named (ring): two are in the dependency tree, and a process default would be
//! somebody else's choice.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::{ClientCert, RootCert, SslMode, TlsOptions, TlsVersion};
use super::tls_verify::{Trusted, Verifier};

/// Why TLS cannot be set up. No error quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Verification without anything to verify against.
    #[error(
        "sslmode={0} needs a root certificate: set sslrootcert to the file of the authority that signs the server's certificate, or to \"system\""
    )]
    NoRoot(&'static str),
    /// A file that cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    File {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that holds nothing of use.
    #[error("the {what} {} holds no {what} in PEM form", path.display())]
    Empty {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A key that needs a passphrase.
    #[error(
        "the private key {} is encrypted, which is not supported: decrypt it into a file of mode 0600",
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A key that others can read.
    #[error(
        "the private key {} may be read by others: its permissions must be 0600 or less (0640 if root owns it)",
        path.display()
    )]
    KeyPermissions {
        /// The file.
        path: PathBuf,
    },
    /// A certificate and a key that are no pair, or that rustls cannot use.
    #[error("the client certificate {} cannot be used: {source}", path.display())]
    ClientCert {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system trusts nobody.
    #[error("sslrootcert=system: the operating system has no trusted certificates (install ca-certificates)")]
    NoSystemRoots,
    /// A root certificate that is none.
    #[error("the root certificates {} cannot be used: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Versions that exclude each other.
    #[error("ssl_min_protocol_version is newer than ssl_max_protocol_version")]
    Versions,
    /// rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// A maker of TLS connections. Reads the files that `options` names.
pub fn connector(options: &TlsOptions) -> Result<MakeRustlsConnect, TlsError> {
    Ok(MakeRustlsConnect::new(client_config(options)?))
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions: Vec<_> =
        [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)]
            .into_iter()
            .filter(|(version, _)| (options.oldest..=options.newest).contains(version))
            .map(|(_, version)| version)
            .collect();
    if versions.is_empty() {
        return Err(TlsError::Versions);
    }
    let trusted = match (&options.root, options.mode) {
        (None, SslMode::VerifyCa) => return Err(TlsError::NoRoot("verify-ca")),
        (None, SslMode::VerifyFull) => return Err(TlsError::NoRoot("verify-full")),
        (None, _) => None,
        (Some(root), _) => Some(trusted(root, &provider)?),
    };
    let verifier = Verifier {
        trusted,
        check_name: options.mode == SslMode::VerifyFull,
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &options.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = load_client(client)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| TlsError::ClientCert { path: client.cert.clone(), source })?
        }
    };
    config.enable_sni = options.sni;
    if options.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

fn trusted(root: &RootCert, provider: &Arc<CryptoProvider>) -> Result<Trusted, TlsError> {
    let (certificates, path) = match root {
        RootCert::File(path) => (load_certificates(path, "root certificate")?, path.clone()),
        RootCert::System => {
            let found = rustls_native_certs::load_native_certs().certs;
            if found.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
            (found, PathBuf::from("of the system"))
        }
    };
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(certificates.iter().cloned());
    if roots.is_empty() {
        let reason = format!("{unusable} of {} are malformed", certificates.len());
        return Err(TlsError::Roots { path, reason });
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TlsError::Roots { path, reason: error.to_string() })?;
    // Anybody may get a certificate from a public authority, so none of the system's is trusted as a server's own.
    let own = if *root == RootCert::System { Vec::new() } else { certificates };
    Ok(Trusted { chain, own })
}

fn load_certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, what)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::Empty { what, path: path.to_owned() }),
    }
}

fn load_client(
    client: &ClientCert,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = load_certificates(&client.cert, "client certificate")?;
    let (what, path) = ("private key", client.key.clone());
    let metadata =
        std::fs::metadata(&path).map_err(|source| TlsError::File { what, path: path.clone(), source })?;
    // libpq's rule: a key of root's may be readable by a group.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(TlsError::KeyPermissions { path });
    }
    let pem = read(&path, what)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok((chain, key)),
        Err(_) if String::from_utf8_lossy(&pem).contains("ENCRYPTED") => Err(TlsError::EncryptedKey { path }),
        Err(_) => Err(TlsError::Empty { what, path }),
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { what, path: path.to_owned(), source })
}
