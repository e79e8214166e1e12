//! Why TLS failed: for machines, and for people.

use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error};

use crate::error::{Fault, TlsFault};
use crate::id::ConnId;

/// What is inside an [`io::Error`] of TLS: all that rustls says, and who was expected.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Who the certificate was to be for, on a client's side.
    pub name: Option<ServerName<'static>>,
    /// What rustls says: for a certificate that is no good, the names or the dates in it.
    pub error: Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "TLS with {}: {}", name.to_str(), self.error),
            None => write!(f, "TLS: {}", self.error),
        }
    }
}

impl core::error::Error for Failure {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        io::Error::new(ErrorKind::InvalidData, failure)
    }
}

/// The handshake that failed last, from the transport past the machine to the host: a machine takes a word, people want the
/// sentence.
#[derive(Clone, Debug, Default)]
pub struct LastFailure(Arc<Mutex<Option<Said>>>);

/// Of which dial, and what.
type Said = (ConnId, Arc<str>);

impl LastFailure {
    /// Why the dial of `conn` failed, if it was the last to fail for TLS.
    pub fn of(&self, conn: ConnId) -> Option<Arc<str>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(failed, _)| *failed == conn).map(|(_, text)| text.clone())
    }

    pub(super) fn set(&self, conn: ConnId, error: &io::Error) {
        if error.get_ref().is_some_and(|inner| inner.is::<Failure>()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((conn, error.to_string().into()));
        }
    }
}

/// A fault that is known without rustls.
pub(super) fn error(kind: ErrorKind, fault: TlsFault) -> io::Error {
    io::Error::new(kind, fault)
}

/// What an error means to a machine, if it is one of TLS.
pub(in crate::drive) fn fault_of(error: &io::Error) -> Option<Fault> {
    let inner = error.get_ref()?;
    let fault = if let Some(fault) = inner.downcast_ref::<TlsFault>() {
        *fault
    } else if let Some(failure) = inner.downcast_ref::<Failure>() {
        classify(&failure.error)
    } else {
        // As rustls itself says it to whoever writes after a failure.
        classify(inner.downcast_ref::<Error>()?)
    };
    Some(Fault::Tls(fault))
}

fn classify(error: &Error) -> TlsFault {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => TlsFault::NoCertificate,
        Error::AlertReceived(alert) => TlsFault::Refused(u8::from(*alert)),
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFault::Incompatible,
        Error::InvalidMessage(_) => TlsFault::NotTls,
        _ => TlsFault::Broken,
    }
}

fn certificate(error: &CertificateError) -> TlsFault {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => TlsFault::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => TlsFault::NotYetValid,
        E::UnknownIssuer => TlsFault::UnknownIssuer,
        E::NotValidForName | E::NotValidForNameContext { .. } => TlsFault::WrongName,
        E::Revoked => TlsFault::Revoked,
        _ => TlsFault::BadCertificate,
    }
}
