//! The ground of real time: threads that park, and the sockets of the operating system, of either family.

use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use plimsoll_core::machine::{Credentials, unix_path};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::ground::{Door, Ground, Wire};
use crate::support::PATIENCE;

/// See the module.
pub(crate) struct System;

impl Ground for System {
    fn wait(&self, mut future: Pin<&mut dyn Future<Output = ()>>, at_most: Duration) -> bool {
        let waker = Waker::from(Arc::new(Parked(thread::current())));
        let give_up = Instant::now() + at_most;
        loop {
            // Before the future is polled: what is ready and has woken nobody hangs as well.
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if let Poll::Ready(()) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return true;
            }
            thread::park_timeout(left);
        }
    }

    fn connect(&self, address: &str) -> io::Result<Box<dyn Wire>> {
        let (socket, address) = socket_for(address);
        socket.connect(&address)?;
        Ok(Box::new(connected(socket)?))
    }

    fn listen(&self, address: &str) -> io::Result<(Box<dyn Door>, String)> {
        let (socket, bound) = socket_for(address);
        // So that the address can be had again at once.
        socket.set_reuse_address(true)?;
        socket.bind(&bound)?;
        socket.listen(16)?;
        socket.set_nonblocking(true)?;
        let path = unix_path(address).map(str::to_owned);
        let address = match socket.local_addr()?.as_socket() {
            Some(address) => address.to_string(),
            None => address.to_owned(),
        };
        Ok((Box::new(Listening { socket, path }), address))
    }

    fn for_caller(&self) -> Box<dyn FnOnce() -> Rc<dyn Ground> + Send> {
        Box::new(|| Rc::new(System))
    }

    fn moment(&self) {
        thread::yield_now();
    }

    fn process(&self) -> Credentials {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Credentials { uid, gid, pid: Some(std::process::id()) }
    }
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An unbound socket for `address`, and what the operating system calls that.
fn socket_for(address: &str) -> (Socket, SockAddr) {
    let (domain, address) = match unix_path(address) {
        Some(path) => (Domain::UNIX, SockAddr::unix(path).expect("a short path")),
        None => {
            let address: SocketAddr = address.parse().expect("an address");
            (Domain::for_address(address), address.into())
        }
    };
    (Socket::new(domain, Type::STREAM, None).expect("a socket"), address)
}

fn connected(socket: Socket) -> io::Result<Connected> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if socket.local_addr().is_ok_and(|address| !address.is_unix()) {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(Connected(socket))
}

struct Connected(Socket);

impl Read for Connected {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Connected {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Wire for Connected {
    fn set_patience(&mut self, patience: Duration) {
        self.0.set_read_timeout(Some(patience)).expect("no zero");
        self.0.set_write_timeout(Some(patience)).expect("no zero");
    }

    fn wait_for_bytes(&mut self) -> io::Result<()> {
        match self.0.peek(&mut [MaybeUninit::uninit()])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

struct Listening {
    socket: Socket,
    /// Whose file is to be removed.
    path: Option<String>,
}

impl Door for Listening {
    fn accept(&self) -> Option<Box<dyn Wire>> {
        let (socket, _) = self.socket.accept().ok()?;
        Some(Box::new(connected(socket).ok()?))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If it is not there, that is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}
