//! The pump: a socket and a rustls session as one [`PollIo`].

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::failure::{Failure, error};
use crate::drive::PollIo;
use crate::drive::connections::retrying;
use crate::error::TlsFault;

/// Plaintext that is encrypted at a time, and so what a connection keeps for a socket that takes no more.
const BUFFER: usize = 64 * 1024;
/// With less room than this, bytes are read into the session's own buffer, which takes so many at a time.
const DIRECT: usize = 4 * 1024;

/// Ends when the handshake must be done.
pub(super) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// TLS over a socket.
///
/// A machine must not take back the last byte of what it lends once the bytes before it are sent, which none does whose
/// frames are longer than a byte.
pub struct Tls<Io: PollIo> {
    io: Io,
    session: Connection,
    /// Until the handshake is done.
    deadline: Option<Sleep>,
    /// Who is expected there.
    name: Option<ServerName<'static>>,
    /// Whether the first byte that is lent next was encrypted before.
    held: bool,
    /// The peer is not to be listened to any more, once what it said before has been read.
    failed: Option<io::Error>,
    /// A write failed whose bytes had been promised; told next time.
    broken: Option<io::Error>,
}

impl<Io: PollIo> Tls<Io> {
    pub(super) fn client(io: Io, config: &Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let session = ClientConnection::new(config.clone(), name.clone());
        let session = session.map_err(|error| Failure { name: Some(name.clone()), error })?;
        Ok(Tls::new(io, session.into(), None, Some(name)))
    }

    pub(super) fn server(io: Io, config: &Arc<ServerConfig>, deadline: Sleep) -> io::Result<Self> {
        let session = ServerConnection::new(config.clone());
        let session = session.map_err(|error| Failure { name: None, error })?;
        Ok(Tls::new(io, session.into(), Some(deadline), None))
    }

    fn new(
        io: Io,
        mut session: Connection,
        deadline: Option<Sleep>,
        name: Option<ServerName<'static>>,
    ) -> Self {
        session.set_buffer_limit(Some(BUFFER));
        Tls { io, session, deadline, name, held: false, failed: None, broken: None }
    }

    /// Shakes hands. Ready once that is done and the socket has all of it.
    pub(super) fn handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let flushed = self.flush(cx);
            if !self.session.is_handshaking() {
                self.deadline = None;
                return flushed;
            }
            match (self.pull(cx), flushed) {
                (Poll::Ready(Ok(0)), _) => {
                    return Poll::Ready(Err(error(ErrorKind::UnexpectedEof, TlsFault::Unfinished)));
                }
                (Poll::Ready(Ok(_)), _) => {
                    if let Some(failed) = self.failed.take() {
                        return Poll::Ready(Err(failed));
                    }
                }
                // Why the peer takes no more may be said in what it sent: that is read first.
                (_, Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => {
                    return Poll::Ready(Err(error));
                }
                (Poll::Pending, _) => return self.out_of_time(cx),
            }
        }
    }

    fn out_of_time(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        deadline.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    fn shaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session.is_handshaking() { self.handshake(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Reads into the session's own buffer, and decrypts; how much was read.
    fn pull(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (session, io) = (&mut self.session, &mut self.io);
        let n = ready!(retrying(|| would_block(session.read_tls(&mut Socket { io, cx }))))?;
        self.process(cx);
        Poll::Ready(Ok(n))
    }

    /// Reads into `buf` and decrypts there, so that one call may bring many records; how many bytes of plaintext it has
    /// then. What is decrypted is shorter than what it was, so that it never catches up with what is still encrypted, and
    /// what the session keeps stays below the 16 KiB of a record.
    fn receive(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let n = ready!(self.io.poll_read(cx, buf))?;
        if n == 0 {
            self.session.read_tls(&mut io::empty())?;
        }
        let (mut fed, mut plain) = (0, 0);
        while fed < n && self.failed.is_none() {
            let taken = self.session.read_tls(&mut &buf[fed..n])?;
            if taken == 0 {
                // The peer has said that it is done.
                break;
            }
            fed += taken;
            self.process(cx);
            plain += self.plaintext(&mut buf[plain..fed])?.unwrap_or(0);
        }
        plain += self.plaintext(&mut buf[plain..])?.unwrap_or(0);
        Poll::Ready(Ok(plain))
    }

    /// Takes what is decrypted. `None`: nothing yet; 0: nothing ever.
    fn plaintext(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self.session.reader().read(buf) {
            Ok(n) => Ok(Some(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            // It has not said that it is done: it may have been cut off.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(io::Error::new(ErrorKind::ConnectionReset, error))
            }
            Err(error) => Err(error),
        }
    }

    /// Decrypts what was read. If that fails, the peer is told why, and we tell it ourselves once the rest is read.
    fn process(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = self.session.process_new_packets() {
            self.failed = Some(Failure { name: self.name.clone(), error }.into());
            let _ = self.flush(cx);
        }
    }

    /// Encrypts what the front of `bufs` holds after the first `skip` bytes; how many bytes it took.
    fn encrypt(&mut self, bufs: &[IoSlice<'_>], skip: usize) -> io::Result<usize> {
        let mut writer = self.session.writer();
        let Some((first, rest)) = bufs.split_first().filter(|_| skip > 0) else {
            return writer.write_vectored(bufs);
        };
        let n = writer.write(&first[skip..])?;
        Ok(n + if rest.is_empty() || n < first.len() - skip { 0 } else { writer.write_vectored(rest)? })
    }

    /// Writes what is encrypted. Ready once nothing is left.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        while self.session.wants_write() {
            let (session, io) = (&mut self.session, &mut self.io);
            let written = retrying(|| would_block(session.write_tls(&mut Socket { io, cx })));
            if ready!(written)? == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: PollIo> PollIo for Tls<Io> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.shaken(cx))?;
        loop {
            if let Some(n) = self.plaintext(buf)? {
                return Poll::Ready(Ok(n));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            if buf.len() < DIRECT {
                ready!(self.pull(cx))?;
            } else {
                let n = ready!(self.receive(cx, buf))?;
                if n > 0 {
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.shaken(cx))?;
        ready!(self.flush(cx))?;
        let held = usize::from(mem::take(&mut self.held));
        let n = held + self.encrypt(bufs, held)?;
        match self.flush(cx) {
            Poll::Ready(Ok(())) => {}
            // They may have left: they count as sent, and the next call fails.
            Poll::Ready(Err(error)) => self.broken = Some(error),
            Poll::Pending => {
                // So that this is called again, and nobody closes before the socket has taken everything.
                self.held = n > 1 && n == bufs.iter().map(|buf| buf.len()).sum::<usize>();
            }
        }
        Poll::Ready(Ok(n - usize::from(self.held)))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.shaken(cx))?;
        let nothing = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        if self.failed.is_some() || !self.session.reader().fill_buf().is_err_and(nothing) {
            return Poll::Ready(Ok(()));
        }
        // What the session has to say by itself. Nobody waits for it, and a failure shows in what is read as well.
        if let Poll::Ready(Err(error)) = self.flush(cx) {
            self.broken = Some(error);
        }
        self.io.poll_readable(cx)
    }
}

/// Says goodbye, if the socket takes it at once.
impl<Io: PollIo> Drop for Tls<Io> {
    fn drop(&mut self) {
        if !self.session.is_handshaking() {
            self.session.send_close_notify();
        }
        let _ = self.flush(&mut Context::from_waker(Waker::noop()));
    }
}

/// A socket as rustls sees it.
struct Socket<'a, 'b, Io> {
    io: &'a mut Io,
    cx: &'a mut Context<'b>,
}

impl<Io: PollIo> Read for Socket<'_, '_, Io> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        or_would_block(self.io.poll_read(self.cx, buf))
    }
}

impl<Io: PollIo> Write for Socket<'_, '_, Io> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.io.poll_write(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

fn would_block<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// A connection with TLS, or without.
pub enum MaybeTls<Io: PollIo> {
    /// As the socket is.
    Plain(Io),
    /// In a box, since a session is large.
    Tls(Box<Tls<Io>>),
}

impl<Io: PollIo> PollIo for MaybeTls<Io> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            MaybeTls::Plain(io) => io.poll_read(cx, buf),
            MaybeTls::Tls(tls) => tls.poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            MaybeTls::Plain(io) => io.poll_write(cx, bufs),
            MaybeTls::Tls(tls) => tls.poll_write(cx, bufs),
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            MaybeTls::Plain(io) => io.poll_readable(cx),
            MaybeTls::Tls(tls) => tls.poll_readable(cx),
        }
    }
}
