//! Socket files: what is there before, during and after, with one process and with many.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::mem;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::stat::Mode;
use plimsoll_core::drive::socket_file::{BindError, SocketFile, bind};
use plimsoll_core::drive::{ListenOptions, peer_credentials};
use tempfile::TempDir;

type Bound = (UnixListener, SocketFile);

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.sock");
    (directory, path)
}

fn default(path: impl AsRef<Path>) -> Result<Bound, BindError> {
    bind(path, &ListenOptions::default())
}

/// A socket file whose listener has gone without removing it.
fn stale(path: &Path) -> u64 {
    let (listener, file) = default(path).unwrap();
    mem::forget(file);
    drop(listener);
    fs::symlink_metadata(path).unwrap().ino()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Whether what listens at `path` is `listener`. Whoever asked before, and has ended since, is passed over.
fn reaches(path: &Path, listener: &UnixListener) -> bool {
    let mut there = UnixStream::connect(path).unwrap();
    there.write_all(b"!").unwrap();
    listener.incoming().any(|here| here.unwrap().read(&mut [0]).unwrap() == 1)
}

/// Runs [`child`] in a process of its own, which begins by this line of shell.
fn spawn(role: &str, first: &str, path: &Path, directory: &Path) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{first}; exec \"$0\" --exact child --nocapture --test-threads=1")])
        .arg(std::env::current_exe().unwrap())
        .env("SOCKET_FILE_ROLE", role)
        .env("SOCKET_FILE_PATH", path)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The next line of the child that is meant for us.
fn said(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
    let line = lines.find_map(|line| line.split_once("child: ").map(|(_, said)| said.to_string()));
    line.expect("it says something before it ends")
}

/// Lets it end by itself.
fn finish(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// No test of its own: what other processes do.
#[test]
fn child() {
    let Ok(role) = std::env::var("SOCKET_FILE_ROLE") else { return };
    let path = PathBuf::from(std::env::var_os("SOCKET_FILE_PATH").unwrap());
    let bound = match role.as_str() {
        "watched" => return watched(&path),
        "connecting" => return connecting(&path),
        "wide" => bind(&path, &ListenOptions { mode: 0o666, ..ListenOptions::default() }),
        _ => default(&path),
    };
    match &bound {
        Ok((_, file)) => println!("child: bound {}", file.path().display()),
        Err(BindError::Live { .. }) => println!("child: live"),
        Err(error) => println!("child: {error}"),
    }
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    if role == "elsewhere" {
        std::env::set_current_dir("/").unwrap();
    }
    drop(bound);
}

#[test]
fn it_takes_connections_at_the_path_and_only_its_user_may_connect() {
    let (_directory, path) = place();
    let (listener, file) = default(&path).unwrap();
    assert!(reaches(&path, &listener));
    assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(path.as_path()));
    assert_eq!((file.path(), mode(&path)), (path.as_path(), 0o600));
}

#[test]
fn the_rights_are_those_asked_for_whatever_the_umask() {
    for (role, umask, wanted) in
        [("default", "000", 0o600), ("default", "277", 0o600), ("wide", "000", 0o666), ("wide", "077", 0o666)]
    {
        let (directory, path) = place();
        let mut child = spawn(role, &format!("umask {umask}"), &path, directory.path());
        assert!(said(&mut child).starts_with("bound"), "{role}, umask {umask}");
        assert_eq!(mode(&path), wanted, "{role}, umask {umask}");
        finish(child);
        assert!(!path.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn there_is_no_moment_with_wider_rights() {
    let (directory, path) = place();
    let mut child = spawn("watched", "umask 000", &path, directory.path());
    assert_eq!(said(&mut child), "nobody saw another mode than 600");
    finish(child);
}

/// Binds many times, while another thread looks.
fn watched(path: &Path) {
    let done = AtomicBool::new(false);
    let modes: BTreeSet<_> = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut modes = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                modes.extend(fs::symlink_metadata(path).map(|found| found.mode() & 0o777));
            }
            modes
        });
        (0..500).for_each(|_| drop(default(path).unwrap()));
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    let others: Vec<_> =
        modes.iter().filter(|&&mode| mode != 0o600).map(|mode| format!("{mode:o}")).collect();
    assert!(!modes.is_empty());
    if others.is_empty() {
        println!("child: nobody saw another mode than 600");
    } else {
        println!("child: {}", others.join(", "));
    }
}

#[test]
fn a_live_listener_is_told_with_its_process_and_stays() {
    let (_directory, path) = place();
    let (listener, file) = default(&path).unwrap();
    let error = default(&path).unwrap_err();
    let BindError::Live { listener: Some(who), .. } = &error else { panic!("{error}") };
    assert_eq!(who.uid, nix::unistd::geteuid().as_raw());
    if cfg!(target_os = "linux") {
        assert_eq!(who.pid, Some(std::process::id()));
        let words = format!("process {} of user {} listens on {path:?} already", std::process::id(), who.uid);
        assert_eq!(error.to_string(), words);
    }
    assert!(reaches(&path, &listener));
    drop((listener, file));
    default(&path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_listener_that_has_no_room_for_more_is_live() {
    let (_directory, path) = place();
    let (_listener, _file) = bind(&path, &ListenOptions { backlog: 0, ..ListenOptions::default() }).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let error = default(&path).unwrap_err();
    assert!(matches!(error, BindError::Live { listener: None, .. }), "{error}");
    assert_eq!(error.to_string(), format!("somebody listens on {path:?} already"));
}

#[test]
fn a_stale_file_is_replaced() {
    let (_directory, path) = place();
    stale(&path);
    let (listener, _file) = default(&path).unwrap();
    assert!(reaches(&path, &listener));
}

#[test]
fn the_file_of_a_process_that_was_killed_is_replaced() {
    let (directory, path) = place();
    let mut child = spawn("default", ":", &path, directory.path());
    assert!(said(&mut child).starts_with("bound"));
    assert!(matches!(default(&path), Err(BindError::Live { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(path.exists());
    let (listener, _file) = default(&path).unwrap();
    assert!(reaches(&path, &listener));
}

#[test]
fn what_is_no_socket_is_named_and_left_alone() {
    let (directory, path) = place();
    let target = directory.path().join("target");
    let symlink_to = |target: &Path| symlink(target, &path).unwrap();
    let cases: [(&str, &dyn Fn()); 6] = [
        ("a regular file", &|| fs::write(&path, "precious").unwrap()),
        ("a directory", &|| fs::create_dir(&path).unwrap()),
        ("a named pipe", &|| nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap()),
        ("a symbolic link", &|| symlink_to(Path::new("/nowhere"))),
        ("a symbolic link", &|| {
            fs::write(&target, "precious").unwrap();
            symlink_to(&target);
        }),
        ("a symbolic link", &|| {
            fs::remove_file(&target).unwrap();
            stale(&target);
            symlink_to(&target);
        }),
    ];
    for (wanted, make) in cases {
        make();
        let before = fs::symlink_metadata(&path).unwrap();
        let error = default(&path).unwrap_err();
        assert!(matches!(error, BindError::InTheWay { what, .. } if what == wanted), "{error}");
        assert!(error.to_string().starts_with(&format!("{path:?} is {wanted}: ")), "{error}");
        let after = fs::symlink_metadata(&path).unwrap();
        assert_eq!((before.ino(), before.len()), (after.ino(), after.len()));
        if after.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
    }
    assert!(target.symlink_metadata().is_ok(), "what a link points to is left alone as well");
}

#[test]
fn a_live_socket_of_another_kind_is_left_alone() {
    let (_directory, path) = place();
    let datagrams = UnixDatagram::bind(&path).unwrap();
    let error = default(&path).unwrap_err();
    assert!(matches!(error, BindError::System { step: "ask whether somebody listens", .. }), "{error}");
    UnixDatagram::unbound().unwrap().send_to(b"!", &path).unwrap();
    assert_eq!(datagrams.recv(&mut [0]).unwrap(), 1);
}

#[test]
fn the_directory_must_exist_and_be_one() {
    let (directory, _) = place();
    let missing = directory.path().join("missing").join("x.sock");
    let error = default(&missing).unwrap_err();
    assert!(matches!(error, BindError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("missing\", where the socket would be"), "{error}");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = default(file.join("x.sock")).unwrap_err();
    assert!(matches!(error, BindError::Directory { .. }), "{error}");
}

#[test]
fn a_directory_in_which_everybody_may_write_must_be_sticky() {
    let (directory, path) = place();
    let chmod = |mode| fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
    for (mode, is_safe) in [(0o777, false), (0o703, false), (0o1777, true), (0o775, true), (0o700, true)] {
        chmod(mode);
        match default(&path) {
            Ok(_) => assert!(is_safe, "{mode:o}"),
            Err(error) => {
                assert!(!is_safe && matches!(error, BindError::Unsafe { .. }), "{mode:o}: {error}");
                let text = error.to_string();
                assert!(
                    text.contains(&format!("mode {mode:o}")) && text.contains("everybody could"),
                    "{text}"
                );
            }
        }
        assert!(!path.exists());
    }
}

/// Only root can give a directory away.
#[test]
fn a_directory_of_another_user_is_not_safe() {
    let (directory, path) = place();
    if std::os::unix::fs::chown(directory.path(), Some(12_345), None).is_ok() {
        let error = default(&path).unwrap_err();
        assert!(matches!(error, BindError::Unsafe { owner: 12_345, .. }), "{error}");
        assert!(error.to_string().contains("another user could replace it"), "{error}");
    }
}

#[test]
fn a_path_is_as_long_as_the_kernel_allows_and_no_longer() {
    let most = if cfg!(target_os = "linux") { 107 } else { 103 };
    let (directory, _) = place();
    let of_length = |n: usize| directory.path().join("x".repeat(n - directory.path().as_os_str().len() - 1));
    assert_eq!(of_length(most).as_os_str().len(), most);
    let (listener, _file) = default(of_length(most)).unwrap();
    assert!(reaches(&of_length(most), &listener));
    let error = default(of_length(most + 1)).unwrap_err();
    assert!(matches!(error, BindError::TooLong { .. }), "{error}");
    let words = format!("has {} bytes, and the path of a socket at most {most}", most + 1);
    assert!(error.to_string().ends_with(&words), "{error}");
}

#[test]
fn a_relative_path_may_stand_deeper_and_is_removed_wherever_the_process_has_gone() {
    let (directory, _) = place();
    let deep = directory.path().join("x".repeat(120));
    fs::create_dir(&deep).unwrap();
    let mut child = spawn("elsewhere", ":", Path::new("x.sock"), &deep);
    assert_eq!(said(&mut child), format!("bound {}", deep.join("x.sock").display()));
    assert!(deep.join("x.sock").exists());
    finish(child);
    assert!(!deep.join("x.sock").exists());
}

#[test]
fn what_names_no_file_is_refused() {
    for path in ["", "/", "..", "/tmp/..", "/tmp/", "/tmp/x\0y", "\0abstract"] {
        let error = default(path).unwrap_err();
        assert!(matches!(error, BindError::NoFile { .. }), "{path:?}: {error}");
    }
}

#[test]
fn dropping_the_guard_removes_the_file_and_nothing_else() {
    let (_directory, path) = place();
    let (listener, file) = default(&path).unwrap();
    drop(file);
    assert!(!path.exists());
    drop(listener);

    let (_listener, file) = default(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another").unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"another");
}

/// File systems hand out the number of a removed file again at once.
#[cfg(target_os = "linux")]
#[test]
fn a_successor_that_came_while_the_guard_was_still_held_is_not_removed() {
    let (_directory, path) = place();
    for _ in 0..100 {
        let (listener, file) = default(&path).unwrap();
        drop(listener);
        let (successor, its_file) = default(&path).unwrap();
        drop(file);
        assert!(reaches(&path, &successor));
        drop((successor, its_file));
    }
}

#[test]
fn of_many_threads_that_start_at_once_exactly_one_wins() {
    const RACERS: usize = 8;
    let (_directory, path) = place();
    for round in 0..50 {
        if round % 2 == 0 {
            stale(&path);
        }
        let barrier = Barrier::new(RACERS);
        let bound: Vec<_> = thread::scope(|scope| {
            let race = || {
                barrier.wait();
                default(&path)
            };
            let racers: Vec<_> = (0..RACERS).map(|_| scope.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert!(lost.iter().all(|lost| matches!(lost, Err(BindError::Live { .. }))), "{lost:?}");
        let [Ok((listener, _file))] = won.as_slice() else { panic!("{won:?}") };
        assert!(reaches(&path, listener));
    }
}

#[test]
fn of_many_processes_that_start_at_once_exactly_one_wins() {
    let (directory, path) = place();
    for round in 0..3 {
        if round > 0 {
            stale(&path);
        }
        let mut children: Vec<_> = (0..6).map(|_| spawn("default", ":", &path, directory.path())).collect();
        let said: Vec<_> = children.iter_mut().map(said).collect();
        assert_eq!(said.iter().filter(|said| said.starts_with("bound")).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|said| *said == "live").count(), 5, "{said:?}");
        UnixStream::connect(&path).unwrap();
        children.into_iter().for_each(finish);
        assert!(!path.exists());
    }
}

#[test]
fn a_directory_that_stays_locked_is_told() {
    let (directory, path) = place();
    let lock = File::open(directory.path()).unwrap();
    lock.lock().unwrap();
    let error = default(&path).unwrap_err();
    assert!(matches!(error, BindError::Locked { .. }), "{error}");
    drop(lock);
    default(&path).unwrap();
}

#[test]
fn the_kernel_tells_who_is_at_the_other_end() {
    let (one, other) = UnixStream::pair().unwrap();
    for stream in [&one, &other] {
        let peer = peer_credentials(stream).unwrap();
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.gid, nix::unistd::getegid().as_raw());
        if cfg!(target_os = "linux") {
            assert_eq!(peer.pid, Some(std::process::id()));
        }
    }
    assert!(peer_credentials(&UnixDatagram::unbound().unwrap()).is_err(), "there is nobody");
}

#[test]
fn the_kernel_tells_one_process_from_another() {
    let (directory, path) = place();
    let (listener, _file) = default(&path).unwrap();
    let mut child = spawn("connecting", ":", &path, directory.path());
    assert_eq!(said(&mut child), "connected");
    let peer = peer_credentials(&listener.accept().unwrap().0).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(peer.pid, Some(child.id()));
    }
    finish(child);
}

fn connecting(path: &Path) {
    let _stream = UnixStream::connect(path).unwrap();
    println!("child: connected");
}
