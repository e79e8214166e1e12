//! Bare hyper: an edge that answers by itself, and upstreams for those that do not. One thread, no policy, no feature.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::callers::runtime;
use super::edge::BODY;
use super::report::ready;
use crate::Result;

/// A certificate for localhost and its key, PEM.
pub(super) fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok((cert, key))
}

/// HTTP/2 over TLS.
pub(super) fn edge(cert: &Path, key: &Path) -> Result<()> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<std::result::Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    accept(move |stream| {
        let accepted = acceptor.accept(stream);
        async move {
            // Who does not get through the handshake is not served.
            if let Ok(stream) = accepted.await {
                serve_http2(stream).await;
            }
        }
    })
}

/// HTTP/2 in the clear.
pub(super) fn http2() -> Result<()> {
    accept(serve_http2)
}

/// HTTP/1.1 in the clear.
pub(super) fn http1() -> Result<()> {
    accept(|stream| async {
        // A connection ends as it likes.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
    })
}

fn accept<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F) -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        ready(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(1_000);
    // A connection ends as it likes.
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(_: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-request-id", HeaderValue::from_static("0e1e3a52-8d4c-4a3e-9d0c-1f2e3d4c5b6a"));
    Ok(response)
}
