//! Two authorities, and certificates of one of them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

/// A certificate and its key, as PEM.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

pub struct Certificates {
    pub folder: tempfile::TempDir,
    ours: CertifiedIssuer<'static, KeyPair>,
    server: Pair,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Certificates {
    /// Files `ca.crt` (ours), `other.crt` (of an authority that signed nothing), `app.crt`/`app.key` (a client's)
    /// and `stranger.crt`/`stranger.key` (a client of the other authority).
    pub fn make() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (authority("our authority"), authority("other authority"));
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("ca.crt", &ours.pem());
        write("other.crt", &other.pem());
        for (name, issuer) in [("app", &ours), ("stranger", &other)] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, "app");
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
            let pair = sign(params, issuer);
            write(&format!("{name}.crt"), &pair.cert);
            write(&format!("{name}.key"), &pair.key);
        }
        let names = ["db.example".to_owned(), "127.0.0.1".to_owned()];
        let server = sign(CertificateParams::new(names).unwrap(), &ours);
        Certificates { folder, ours, server }
    }

    /// What the server needs.
    pub fn server_files(&self) -> Vec<(String, Vec<u8>)> {
        [
            ("server.crt", &self.server.cert),
            ("server.key", &self.server.key),
            ("clients.crt", &self.ours.pem()),
        ]
        .map(|(name, content)| (name.to_owned(), content.clone().into_bytes()))
        .to_vec()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file's path as a parameter's value in a URL.
    pub fn parameter(&self, name: &str) -> String {
        crate::support::percent_encoded(self.path(name).to_str().unwrap())
    }

    /// A server's certificate of ours that expired long ago.
    pub fn expired(&self) -> Pair {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        sign(params, &self.ours)
    }

    /// A server's certificate of ours with a common name only.
    pub fn without_alternative_names(&self, common_name: &str) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        sign(params, &self.ours)
    }

    /// A certificate that signed itself and calls itself an authority, as `openssl req -x509` makes it; its
    /// certificate lies in file `name`.
    pub fn self_signed(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        std::fs::write(self.path(name), &cert).unwrap();
        Pair { cert, key: key.serialize_pem() }
    }
}

fn sign(params: CertificateParams, issuer: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair { cert: params.signed_by(&key, issuer).unwrap().pem(), key: key.serialize_pem() }
}
