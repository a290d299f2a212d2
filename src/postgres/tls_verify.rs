//! Which server certificates are accepted, and a sentence for each that is not.
//!
//! Beyond rustls's own rules two of libpq's are kept, because self-made Postgres certificates rely on them: a
//! certificate that itself stands in the root file is trusted even if it calls itself an authority, and a
//! certificate without alternative names is matched by its common name.

use std::sync::Arc;

use chrono::DateTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::conninfo::{RootCert, TlsOptions};

/// What a server's certificate is checked against.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// Checks a chain up to a root certificate.
    pub chain: Arc<WebPkiServerVerifier>,
    /// Certificates that are trusted as they are.
    pub own: Vec<CertificateDer<'static>>,
}

/// Checks server certificates.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// `None`: any certificate will do (`sslmode=require` without a root certificate).
    pub trusted: Option<Trusted>,
    /// Whether the certificate must name the host.
    pub check_name: bool,
    /// Signatures that can be checked.
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let verdict = if trusted.own.contains(end_entity) {
            check_dates(end_entity, now)
                .and_then(|()| ParsedCertificate::try_from(end_entity))
                .and_then(|certificate| verify_server_name(&certificate, server_name))
        } else {
            trusted
                .chain
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(|_| ())
        };
        match verdict {
            // Names are checked last, so all else is well.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name || common_name_matches(end_entity, server_name) => {}
            other => other?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// libpq's fallback (RFC 6125, 6.4.4): the common name counts only where there are no alternative names.
fn common_name_matches(certificate: &CertificateDer<'_>, server_name: &ServerName<'_>) -> bool {
    let Ok(parsed) = Certificate::from_der(certificate) else { return false };
    let tbs = parsed.tbs_certificate;
    match tbs.get::<SubjectAltName>() {
        Ok(None) => {}
        Ok(Some((_, names)))
            if !names
                .0
                .iter()
                .any(|name| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_))) => {}
        _ => return false,
    }
    let host = server_name.to_str();
    // 2.5.4.3 is commonName (RFC 4519, 2.3).
    let mut common_names = tbs
        .subject
        .0
        .iter()
        .flat_map(|names| names.0.iter())
        .filter(|attribute| attribute.oid.to_string() == "2.5.4.3")
        .filter_map(|attribute| std::str::from_utf8(attribute.value.value()).ok());
    common_names.any(|name| match name.strip_prefix("*.") {
        Some(domain) => {
            matches!(server_name, ServerName::DnsName(_))
                && host
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain))
        }
        None => name.eq_ignore_ascii_case(&host),
    })
}

/// The TLS error within an error of tokio-postgres, which lies inside an I/O error.
pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(tls);
        }
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

/// One sentence about a failed handshake with `host`.
pub(crate) fn explain(error: &Error, options: &TlsOptions, host: &str) -> String {
    match error {
        Error::InvalidCertificate(problem) => explain_certificate(problem, options, host),
        Error::AlertReceived(alert) => {
            let reason = match alert {
                AlertDescription::UnknownCA => {
                    "it does not know the authority that signed the client certificate".to_owned()
                }
                AlertDescription::CertificateRequired => {
                    "it asks for a client certificate (set sslcert and sslkey)".to_owned()
                }
                AlertDescription::CertificateExpired => "the client certificate has expired".to_owned(),
                AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                    "it does not accept the client certificate".to_owned()
                }
                AlertDescription::ProtocolVersion => {
                    "it speaks no TLS version that pgkeep does (1.2 and 1.3)".to_owned()
                }
                AlertDescription::HandshakeFailure => {
                    "no cipher or key type is common to both sides".to_owned()
                }
                other => format!("alert {other:?}"),
            };
            format!("the server refused the TLS handshake: {reason}")
        }
        Error::PeerIncompatible(_) => {
            "the server speaks no TLS version or cipher that pgkeep does (1.2 and 1.3)".to_owned()
        }
        Error::InvalidMessage(_) => "the server's answer is not TLS".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}

fn explain_certificate(problem: &CertificateError, options: &TlsOptions, host: &str) -> String {
    let root = match &options.root {
        Some(RootCert::File(path)) => format!("an authority in {}", path.display()),
        Some(RootCert::System) => "an authority that this system trusts".to_owned(),
        None => "a known authority".to_owned(),
    };
    let date = |time: &UnixTime| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .map_or_else(String::new, |time| time.format(" on %Y-%m-%d %H:%M UTC").to_string())
    };
    let other_names = |presented: &[String]| {
        let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
        match names.is_empty() {
            true => format!("the server's certificate does not name {host}"),
            false => {
                format!("the server's certificate is for other names ({}), not {host}", names.join(", "))
            }
        }
    };
    match problem {
        CertificateError::UnknownIssuer => format!("the server's certificate is not signed by {root}"),
        CertificateError::BadSignature => {
            format!("the server's certificate is not signed by {root}: its signature does not fit")
        }
        CertificateError::Expired => "the server's certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate expired{}", date(not_after))
        }
        CertificateError::NotValidYet => {
            "the server's certificate is not valid yet (is this machine's clock right?)".to_owned()
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the server's certificate becomes valid{} (is this machine's clock right?)", date(not_before))
        }
        CertificateError::NotValidForName => other_names(&[]),
        CertificateError::NotValidForNameContext { presented, .. } => other_names(presented),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not meant for servers".to_owned()
        }
        CertificateError::Other(other) => match other.to_string() {
            text if text.contains("CaUsedAsEndEntity") => {
                "the server shows the certificate of an authority as its own; to trust it, give that very certificate as sslrootcert".to_owned()
            }
            text if text.contains("UnsupportedCertVersion") => {
                "the server's certificate is of X.509 version 1; it must be made anew as version 3".to_owned()
            }
            text => format!("the server's certificate is not acceptable: {text}"),
        },
        other => format!("the server's certificate is not acceptable: {other}"),
    }
}

/// rustls presents names as `DnsName("db.example")`.
fn bare_name(presented: &str) -> &str {
    let inside = presented.split_once('(').map_or(presented, |(_, rest)| rest.trim_end_matches(')'));
    inside.trim_matches('"')
}
