//! Listening on a Unix socket at a path, without a moment in which that is unsafe.
//!
//! ```
//! use plimsoll_core::drive::ListenOptions;
//! use plimsoll_core::drive::socket_file::{self, BindError};
//! use std::os::unix::net::UnixStream;
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("users.sock");
//! let (listener, file) = socket_file::bind(&path, &ListenOptions::default())?;
//! UnixStream::connect(&path)?;
//! assert!(matches!(socket_file::bind(&path, &ListenOptions::default()), Err(BindError::Live { .. })));
//!
//! drop((listener, file));
//! assert!(!path.exists());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! A socket file outlives a process that is killed, so whoever comes next must replace it; and must not replace one on
//! which somebody listens, nor anything else. To look, to remove and to bind are three steps, so all who bind by this
//! module lock the directory meanwhile (`flock`, which leaves no file behind): of any number that start at the same time,
//! one wins, and the others are told of it.
//!
//! Who may replace files in the directory may replace the socket, and hear what was meant for it: so the directory
//! must be root's or our own, and not everybody's, unless it is sticky like `/tmp`.

use std::fmt::Display;
use std::fs::{self, File, FileType, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::{ListenOptions, peer_credentials};
use crate::machine::Credentials;

/// Bytes of a path, at most: the kernel's field for it less the zero at its end.
const MAX_PATH: usize = if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };
/// The lock is held for a few system calls; who does not get it within a second will not get it.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

const STICKY: u32 = 0o1000;
const EVERYBODY_WRITES: u32 = 0o002;

/// Why nobody listens now who did not before.
#[derive(Debug, Error)]
pub enum BindError {
    /// A socket's path is bounded by the kernel.
    #[error("{path:?} has {} bytes, and the path of a socket at most {MAX_PATH}", path.as_os_str().len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// It is empty, or ends in `/` or `..`, or has a zero byte in it.
    #[error("{path:?} is not the path of a file")]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// It is missing, or no directory, or cannot be read.
    #[error("{directory:?}, where the socket would be, cannot be opened: {error}")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others could replace the socket by one of their own.
    #[error(
        "{directory:?} is no safe place for a socket: {}; it has mode {:o}, and belongs to user {owner}",
        if mode & EVERYBODY_WRITES == 0 { "another user could replace it" } else { "everybody could replace it" },
        mode & 0o7777
    )]
    Unsafe {
        /// The directory.
        directory: PathBuf,
        /// Its rights.
        mode: u32,
        /// The user to whom it belongs.
        owner: u32,
    },
    /// Somebody else binds in the same directory, and does not come to an end.
    #[error("another process has held the lock of {directory:?} for a second")]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// Somebody listens there.
    #[error("{} listens on {path:?} already", listener.as_ref().map_or(&"somebody" as &dyn Display, |listener| listener))]
    Live {
        /// The path.
        path: PathBuf,
        /// Who, if the system tells.
        listener: Option<Credentials>,
    },
    /// Something is there that is no socket. It is left alone.
    #[error("{path:?} is {what}: only a socket on which nobody listens is replaced")]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there: "a symbolic link", for example.
        what: &'static str,
    },
    /// The system refuses a step.
    #[error("{path:?}: cannot {step}: {error}")]
    System {
        /// The path.
        path: PathBuf,
        /// Which, as a verb: "remove the stale socket", for example.
        step: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// Listens at `path`, which must be free, or hold a socket on which nobody listens any more.
///
/// Nobody can connect before the file has the rights that were asked for, and on Linux it never has others. The
/// listener blocks.
///
/// Blocks for a second at most, while others bind in the same directory. Where a kernel refuses connections to a
/// listener whose queue is full (the BSDs, macOS), such a listener counts as gone.
///
/// # Errors
/// Everything that [`BindError`] names. What was at `path` is still there then, except for a stale socket.
pub fn bind(
    path: impl AsRef<Path>,
    options: &ListenOptions,
) -> Result<(UnixListener, SocketFile), BindError> {
    let at = Place::new(path.as_ref())?;
    let directory = at.open_directory()?;
    let _lock = lock(&directory).map_err(|error| at.not_locked(error))?;
    at.clear()?;
    let socket = at.listen(options)?;
    let file = SocketFile::new(&at, &directory).map_err(|error| at.give_up("find what was bound", error))?;
    Ok((OwnedFd::from(socket).into(), file))
}

/// Removes the socket file when it is dropped, if it is the one that was bound. Drop it after, or with, the listener.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    directory: File,
    device_and_inode: (u64, u64),
    /// As long as it is open, no other file can get the same number.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    _pin: File,
}

impl SocketFile {
    fn new(at: &Place, directory: &File) -> io::Result<Self> {
        let path = path::absolute(&at.path)?;
        Ok(SocketFile {
            directory: directory.try_clone()?,
            device_and_inode: identity(&fs::symlink_metadata(&path)?),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            _pin: OpenOptions::new()
                .read(true)
                .custom_flags((OFlag::O_PATH | OFlag::O_NOFOLLOW).bits())
                .open(&path)?,
            path,
        })
    }

    /// Where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    /// A file that cannot be removed stays: the next to bind finds it stale.
    fn drop(&mut self) {
        let Ok(_lock) = lock(&self.directory) else { return };
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.device_and_inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Where to bind.
struct Place {
    /// As it was given: relative, it may be shorter than the kernel's limit where the absolute path is not.
    path: PathBuf,
    directory: PathBuf,
    address: SockAddr,
}

impl Place {
    fn new(path: &Path) -> Result<Self, BindError> {
        let bytes = path.as_os_str().as_bytes();
        let parent = path.file_name().and(path.parent());
        let Some(parent) = parent.filter(|_| !bytes.contains(&0) && !bytes.ends_with(b"/")) else {
            return Err(BindError::NoFile { path: path.into() });
        };
        if bytes.len() > MAX_PATH {
            return Err(BindError::TooLong { path: path.into() });
        }
        let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let address = SockAddr::unix(path).map_err(|error| failed(path, "be addressed", error))?;
        Ok(Place { path: path.into(), directory: directory.into(), address })
    }

    fn failed(&self, step: &'static str, error: io::Error) -> BindError {
        failed(&self.path, step, error)
    }

    fn not_locked(&self, error: TryLockError) -> BindError {
        match error {
            TryLockError::WouldBlock => BindError::Locked { directory: self.directory.clone() },
            TryLockError::Error(error) => self.failed("lock its directory", error),
        }
    }

    /// The directory, once it is found to be safe.
    fn open_directory(&self) -> Result<File, BindError> {
        let opened =
            OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(&self.directory);
        let opened = opened.and_then(|directory| Ok((directory.metadata()?, directory)));
        let (metadata, directory) =
            opened.map_err(|error| BindError::Directory { directory: self.directory.clone(), error })?;
        let (mode, owner) = (metadata.mode(), metadata.uid());
        let is_trusted = owner == 0 || owner == geteuid().as_raw();
        if is_trusted && (mode & EVERYBODY_WRITES == 0 || mode & STICKY != 0) {
            return Ok(directory);
        }
        Err(BindError::Unsafe { directory: self.directory.clone(), mode, owner })
    }

    /// Removes a socket on which nobody listens. The directory is locked.
    fn clear(&self) -> Result<(), BindError> {
        let found = match fs::symlink_metadata(&self.path) {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed("look what is there", error)),
        };
        if !found.is_socket() {
            return Err(BindError::InTheWay { path: self.path.clone(), what: kind(found) });
        }
        self.check_that_nobody_listens()?;
        fs::remove_file(&self.path).map_err(|error| self.failed("remove the stale socket", error))
    }

    /// Finds out by connecting. Whoever listens sees a connection that ends at once.
    fn check_that_nobody_listens(&self) -> Result<(), BindError> {
        let failed = |error| self.failed("ask whether somebody listens", error);
        let live = |listener| Err(BindError::Live { path: self.path.clone(), listener });
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        probe.set_nonblocking(true).map_err(failed)?;
        match probe.connect(&self.address) {
            Ok(()) => live(peer_credentials(&probe).ok()),
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Ok(()),
                // It has no room for more connections.
                io::ErrorKind::WouldBlock => live(None),
                _ => Err(failed(error)),
            },
        }
    }

    /// Creates the file, and lets nobody in before its rights are right. The directory is locked.
    fn listen(&self, options: &ListenOptions) -> Result<Socket, BindError> {
        let mode = options.mode & 0o777;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None);
        let socket = socket.map_err(|error| self.failed("make a socket", error))?;
        // On Linux the file gets the rights of the socket, less the umask.
        if cfg!(any(target_os = "linux", target_os = "android")) {
            let same = socket.try_clone().map(|socket| File::from(OwnedFd::from(socket)));
            same.and_then(|socket| socket.set_permissions(Permissions::from_mode(mode)))
                .map_err(|error| self.failed("set its rights", error))?;
        }
        socket.bind(&self.address).map_err(|error| self.failed("bind", error))?;
        let listening = fs::symlink_metadata(&self.path)
            .and_then(|bound| match bound.mode() & 0o777 == mode {
                true => Ok(()),
                false => fs::set_permissions(&self.path, Permissions::from_mode(mode)),
            })
            .and_then(|()| socket.listen(options.backlog));
        listening.map_err(|error| self.give_up("listen", error))?;
        Ok(socket)
    }

    /// Leaves nothing behind of what was bound. The directory is locked.
    fn give_up(&self, step: &'static str, error: io::Error) -> BindError {
        let _ = fs::remove_file(&self.path);
        self.failed(step, error)
    }
}

fn failed(path: &Path, step: &'static str, error: io::Error) -> BindError {
    BindError::System { path: path.into(), step, error }
}

fn kind(found: FileType) -> &'static str {
    match () {
        () if found.is_symlink() => "a symbolic link",
        () if found.is_dir() => "a directory",
        () if found.is_file() => "a regular file",
        () if found.is_fifo() => "a named pipe",
        () => "a device",
    }
}

/// Keeps others who bind in the same directory out.
struct Lock<'a>(&'a File);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing that a machine does depends on it")]
fn lock(directory: &File) -> Result<Lock<'_>, TryLockError> {
    for _ in 1..LOCK_TRIES {
        match directory.try_lock() {
            Ok(()) => return Ok(Lock(directory)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error),
        }
    }
    directory.try_lock().map(|()| Lock(directory))
}
