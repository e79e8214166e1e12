//! A transport whose connections are under TLS.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{self, ErrorKind};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::failure::{LastFailure, error};
use super::stream::{MaybeTls, Sleep, Tls};
use crate::drive::{ReadyList, Timer, Transport};
use crate::error::TlsFault;
use crate::id::ConnId;
use crate::machine::{Peer, unix_path};
use crate::time::Instant;

/// How a client is to secure what it dials.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// The certificate must be for the host of the address that is dialled.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        ClientTls { config, name: None }
    }

    /// The certificate must be for `name`, whatever is dialled.
    pub fn with_name(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        ClientTls { config, name: Some(name) }
    }

    fn name(&self, target: &str) -> Option<ServerName<'static>> {
        if self.name.is_some() {
            return self.name.clone();
        }
        if unix_path(target).is_some() {
            return None;
        }
        let (host, _) = target.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        ServerName::try_from(host.to_owned()).ok()
    }
}

/// How a server is to secure what it accepts.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    sleep: Arc<dyn Fn(Duration) -> Sleep + Send + Sync>,
}

impl ServerTls {
    /// `timer` is that of the runtime that the server's drivers run on.
    pub fn new(config: Arc<ServerConfig>, timer: impl Timer + Clone + Send + Sync + 'static) -> Self {
        let sleep = move |length| -> Sleep {
            let timer = timer.clone();
            Box::pin(async move { timer.sleep(length).await })
        };
        ServerTls { config, sleep: Arc::new(sleep) }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.config).finish()
    }
}

/// A transport, with TLS around its connections or without.
pub struct Secured<T: Transport> {
    inner: T,
    role: Role,
    ready: ReadyList,
    /// Exchanged with the ready list.
    woken: Vec<u32>,
    /// By slot.
    dials: Vec<Place<T>>,
    failures: LastFailure,
}

enum Role {
    Plain,
    Client(ClientTls),
    Server(ServerTls, Duration),
}

struct Place<T: Transport> {
    waker: Waker,
    dial: Option<Dial<T>>,
}

struct Dial<T: Transport> {
    conn: ConnId,
    name: Option<ServerName<'static>>,
    /// Once it is connected.
    tls: Option<Box<Tls<T::Io>>>,
}

impl<T: Transport> Secured<T> {
    /// Shakes hands on every connection that it dials.
    pub fn client(inner: T, tls: Option<ClientTls>) -> Self {
        Secured::new(inner, tls.map_or(Role::Plain, Role::Client))
    }

    /// Shakes hands on every connection that it accepts, which must not take longer than `within`.
    pub fn server(inner: T, tls: Option<ServerTls>, within: Duration) -> Self {
        Secured::new(inner, tls.map_or(Role::Plain, |tls| Role::Server(tls, within)))
    }

    fn new(inner: T, role: Role) -> Self {
        Secured {
            inner,
            role,
            ready: ReadyList::new(),
            woken: Vec::new(),
            dials: Vec::new(),
            failures: LastFailure::default(),
        }
    }

    /// Where to look up why a dial failed.
    pub fn failures(&self) -> LastFailure {
        self.failures.clone()
    }

    /// The socket is connected: now the handshake begins.
    fn connected(&mut self, conn: ConnId, io: T::Io) -> io::Result<()> {
        let Place { waker, dial } = &mut self.dials[conn.index()];
        // Whoever has been cancelled is never reported.
        let Some(dial) = dial.as_mut().filter(|dial| dial.conn == conn) else { return Ok(()) };
        let name = dial.name.take().ok_or_else(|| error(ErrorKind::InvalidInput, TlsFault::NoName))?;
        let Role::Client(tls) = &self.role else { return Ok(()) };
        dial.tls = Some(Box::new(Tls::client(io, &tls.config, name)?));
        waker.wake_by_ref();
        Ok(())
    }

    /// Goes on with a handshake; its connection once it has ended.
    fn shake(&mut self, slot: u32) -> Poll<(ConnId, io::Result<MaybeTls<T::Io>>)> {
        let Place { waker, dial } = &mut self.dials[slot as usize];
        let Some(Dial { conn, tls: Some(tls), .. }) = dial else { return Poll::Pending };
        let conn = *conn;
        tls.handshake(&mut Context::from_waker(waker)).map(|result| {
            let tls = dial.take().and_then(|dial| dial.tls).expect("it has just been polled");
            let result = result.inspect_err(|error| self.failures.set(conn, error));
            (conn, result.map(|()| MaybeTls::Tls(tls)))
        })
    }
}

impl<T: Transport> Transport for Secured<T> {
    type Io = MaybeTls<T::Io>;

    fn now(&mut self) -> Instant {
        self.inner.now()
    }

    fn unix_ms(&mut self) -> u64 {
        self.inner.unix_ms()
    }

    fn dial(&mut self, conn: ConnId, target: &str) {
        if let Role::Client(tls) = &self.role {
            for slot in self.dials.len() as u32..=conn.slot() {
                self.dials.push(Place { waker: self.ready.waker(slot), dial: None });
            }
            self.dials[conn.index()].dial = Some(Dial { conn, name: tls.name(target), tls: None });
        }
        self.inner.dial(conn, target);
    }

    fn cancel_dial(&mut self, conn: ConnId) {
        if let Some(place) = self.dials.get_mut(conn.index()) {
            place.dial.take_if(|dial| dial.conn == conn);
        }
        self.inner.cancel_dial(conn);
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Self::Io>)> {
        while let Poll::Ready((conn, result)) = self.inner.poll_dialed(cx) {
            let result = match (result, &self.role) {
                (Ok(io), Role::Client(_)) => match self.connected(conn, io) {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
                (result, _) => result.map(MaybeTls::Plain),
            };
            return Poll::Ready((conn, result));
        }
        if self.woken.is_empty() {
            self.ready.take(&mut self.woken);
        }
        while let Some(slot) = self.woken.pop() {
            let shaken = self.shake(slot);
            if shaken.is_ready() {
                return shaken;
            }
        }
        if self.ready.arm(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>> {
        self.inner.poll_accept(cx).map(|accepted| {
            let (io, peer) = accepted?;
            let io = match &self.role {
                Role::Server(tls, within) => {
                    MaybeTls::Tls(Box::new(Tls::server(io, &tls.config, (tls.sleep)(*within))?))
                }
                Role::Plain | Role::Client(_) => MaybeTls::Plain(io),
            };
            Ok((io, peer))
        })
    }

    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }

    fn set_timer(&mut self, after: Duration) {
        self.inner.set_timer(after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_timer(cx)
    }
}
