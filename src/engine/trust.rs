//! Reads certificates: those by which a provider is known (`providers.<name>.ca`), and the gateway's own
//! (`server.tls`), to say what is wrong with them before anything depends on it.
//!
//! Whether a connection can be trusted is seen when it is made.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base::limit::CA_BYTES_MAX;
use crate::config::snapshot::Tls;
use crate::config::{Certificates, Verdict};

/// The certificates of a file in DER form, at least one.
///
/// # Errors
/// What is wrong with the file, in words that show nothing of it.
pub fn certificates(path: &Path) -> Certificates {
    let pem = bounded(path).map_err(|error| unread(path, &error))?;
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(&pem) {
        let number = found.len() + 1;
        let broken = || format!("cannot be read after {} certificates (PEM)", number - 1);
        let block = block.map_err(|_| broken())?;
        if block.label != "CERTIFICATE" {
            continue;
        }
        // What is given to Pingora has to pass this same parser, which it calls without a way back.
        match X509Certificate::from_der(&block.contents) {
            Ok(([], _)) => found.push(block.contents),
            _ => return Err(format!("has something else than a certificate as number {number}")),
        }
    }
    if found.is_empty() {
        return Err("holds no certificate (PEM, with BEGIN CERTIFICATE)".to_owned());
    }
    Ok(found)
}

/// Looks at the gateway's own certificate and key, which Pingora reads again when it listens.
///
/// # Errors
/// Which of both is wrong, and how.
pub fn server_certificate(tls: &Tls) -> Verdict {
    let of_key = |message: String| ("key", message);
    let chain = certificates(&tls.cert).map_err(|message| ("cert", message))?;
    let pem = bounded(&tls.key).map_err(|error| of_key(unread(&tls.key, &error)))?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    let key = key.map_err(|_| of_key("holds no private key (PEM, not encrypted)".to_owned()))?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(of_key("is not the key of the first certificate in server.tls.cert".to_owned()))
        }
        Err(error) => Err(of_key(format!("cannot be used with the certificate: {error}"))),
    }
}

fn unread(path: &Path, error: &io::Error) -> String {
    format!("cannot be read: {}: {error}", path.display())
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(CA_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > CA_BYTES_MAX {
        let message = format!("it is too large (at most {CA_BYTES_MAX} bytes)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::sample::Folder;

    fn certificate() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["host.test".to_owned()]).unwrap();
        params.self_signed(&key).unwrap()
    }

    fn read(name: &str, text: &str) -> Result<Vec<Vec<u8>>, String> {
        let folder = Folder::new(name);
        certificates(&folder.write("ca.pem", text))
    }

    #[test]
    fn all_certificates_of_a_file_are_taken() {
        let (one, two) = (certificate(), certificate());
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let text = format!("words before\n{}{key}\r\n{}", one.pem(), two.pem());
        let found = read("ca-all", &text).unwrap();
        assert_eq!(found, [one.der().to_vec(), two.der().to_vec()]);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let good = certificate().pem();
        let cut = good.lines().take(3).collect::<Vec<_>>().join("\n");
        let fake = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for (name, text, fragment) in [
            ("ca-none", "", "holds no certificate"),
            ("ca-key", key.as_str(), "holds no certificate"),
            ("ca-cut", &format!("{good}{cut}"), "cannot be read after 1 certificates"),
            ("ca-fake", &format!("{good}{fake}"), "something else than a certificate as number 2"),
            ("ca-large", &"#\n".repeat(CA_BYTES_MAX), "too large"),
        ] {
            let problem = read(name, text).unwrap_err();
            assert!(problem.contains(fragment), "{name}: {problem}");
        }
        assert!(
            certificates(Path::new("/nonexistent/ca.pem")).unwrap_err().contains("No such file")
        );
    }

    #[test]
    fn a_key_has_to_fit_its_certificate() {
        let folder = Folder::new("own");
        let (key, other) = (rcgen::KeyPair::generate().unwrap(), certificate());
        let params = rcgen::CertificateParams::new(vec!["host.test".to_owned()]).unwrap();
        let own = params.self_signed(&key).unwrap();
        let looked_at = |cert: &str, key: &str| {
            let (cert, key) = (folder.write("crt", cert), folder.write("key", key));
            server_certificate(&Tls { cert, key })
        };
        let (cert, key) = (own.pem(), key.serialize_pem());
        assert_eq!(looked_at(&cert, &key), Ok(()));
        assert_eq!(looked_at(&format!("{cert}{}", other.pem()), &key), Ok(()), "a chain");
        for (cert, key, wrong, fragment) in [
            (other.pem().as_str(), key.as_str(), "key", "is not the key of the first certificate"),
            (&cert, &cert, "key", "holds no private key"),
            (&cert, "", "key", "holds no private key"),
            (&key, &key, "cert", "holds no certificate"),
            ("", &key, "cert", "holds no certificate"),
        ] {
            let (at, message) = looked_at(cert, key).unwrap_err();
            assert_eq!(at, wrong, "{message}");
            assert!(message.contains(fragment), "{message}");
        }
        let gone = Tls { cert: folder.write("crt", &cert), key: folder.0.join("gone") };
        assert!(server_certificate(&gone).unwrap_err().1.contains("cannot be read"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "(-----BEGIN CERTIFICATE-----|-----END CERTIFICATE-----|[a-zA-Z0-9+/=]{0,9}|\n){0,12}") {
            let _ = read("ca-any", &text);
        }
    }
}
