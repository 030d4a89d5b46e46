//! How PostgreSQL is reached: `sslmode` and `sslrootcert` of the URL, as the README has them.
use crate::{Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The connection's configuration out of its URL.
pub(crate) fn config(url: &str) -> Result<(Config, MakeRustlsConnect)> {
    // Never the URL itself in a message: it holds the password.
    let invalid = |e: &dyn std::fmt::Display| Error::Database(format!("the database URL is not valid: {e}"));
    let (url, root_file) = own_parameters(url);
    let config: Config = url.parse().map_err(|e: tokio_postgres::Error| match std::error::Error::source(&e) {
        Some(cause) => invalid(cause),
        None => invalid(&e),
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|e| invalid(&e))?;
    let tls = if config.get_ssl_mode() == SslMode::Require {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(file) = root_file {
            for certificate in CertificateDer::pem_file_iter(&file).map_err(|e| invalid(&format!("sslrootcert {file}: {e}")))? {
                let added = certificate.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
                added.map_err(|e| invalid(&format!("sslrootcert {file}: {e}")))?;
            }
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth()
    };
    Ok((config, MakeRustlsConnect::new(tls)))
}

/// `url` without the parameters which only libpq knows, and the file of `sslrootcert`.
fn own_parameters(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut root_file = None;
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslrootcert", file)) => root_file = Some(percent_decode(file)),
            Some(("sslmode", "verify-ca" | "verify-full")) => kept.push("sslmode=require"),
            _ => kept.push(parameter),
        }
    }
    (format!("{base}?{}", kept.join("&")), root_file)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (first, code) {
            (b'%', Some(code)) => (&tail[2..], bytes.push(code)),
            _ => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Encryption without identity, for `prefer`: whoever could forge a certificate could refuse TLS altogether.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_libpq_are_understood() {
        let (config, _) = config("postgres://u:p@db/x?sslmode=verify-full&application_name=a").unwrap();
        assert_eq!((config.get_ssl_mode(), config.get_application_name()), (SslMode::Require, Some("a")));
        assert_eq!(
            own_parameters("postgres://u@h/d?sslrootcert=%2Fetc%2Fca.pem&sslmode=require"),
            ("postgres://u@h/d?sslmode=require".into(), Some("/etc/ca.pem".into()))
        );
        assert_eq!(percent_decode("100%"), "100%");
    }

    #[test]
    fn messages_do_not_tell_the_password() {
        for url in ["postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=maybe", "postgres://u:hunter2@h/d?sslmode=require&sslrootcert=/nowhere"]
        {
            let e = config(url).err().unwrap().to_string();
            assert!(!e.contains("hunter2"), "{e}");
        }
    }
}
