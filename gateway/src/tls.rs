//! TLS at the edge: 1.3 preferred, 1.2 the floor, aws-lc-rs the provider.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};

use crate::certs::{self, CertError};
use crate::config::Tls;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    Development(#[from] CertError),
    #[error("{}: {error}", path.display())]
    Pem { path: PathBuf, error: pem::Error },
    #[error("{}: holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("{} and {} do not go together: {error}", cert.display(), key.display())]
    Pair { cert: PathBuf, key: PathBuf, error: rustls::Error },
}

/// A server's side of TLS that offers HTTP/2, and HTTP/1.1 in order to refuse it with a reason.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let (cert, key) = match &tls.files {
        Some((cert, key)) => (cert.clone(), key.clone()),
        None => {
            let leaf = certs::ensure(&tls.cert_dir)?;
            (leaf.cert, leaf.key)
        }
    };
    let chain = read_chain(&cert)?;
    let private =
        PrivateKeyDer::from_pem_file(&key).map_err(|error| TlsError::Pem { path: key.clone(), error })?;
    certs::warn_if_others_can_read(&key);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| TlsError::Pair { cert, key, error })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::Pem { path: path.into(), error })?;
    if chain.is_empty() { Err(TlsError::Empty(path.into())) } else { Ok(chain) }
}
