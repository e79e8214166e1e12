//! Starts the real binary in a directory of its own and talks to it with curl.
#![allow(dead_code, reason = "no test file needs all of it")]

pub(crate) mod ipc;

use std::future::pending;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use plimsoll_tokio::{Ctx, HandlerError, Server};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a slow machine; no test that passes waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with nothing of this process's environment that could configure it.
pub(crate) fn plimsoll(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.current_dir(dir).env_clear();
    command
}

/// A program whose lines on standard output are waited for.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Locked so that a gateway can be shared by the threads of a test.
    lines: Mutex<Receiver<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines: Mutex::new(lines) }
    }

    pub(crate) fn line(&mut self) -> String {
        match self.lines.get_mut().expect("no thread has panicked with it").recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                let _ = self.child.kill();
                panic!("no further line on standard output ({error}); on standard error: {}", self.stderr());
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is installed").success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway on a free port, that has said that it serves.
pub(crate) struct Gateway {
    pub(crate) running: Running,
    pub(crate) dir: TempDir,
    /// `https://localhost:PORT`
    pub(crate) base: String,
    pub(crate) curl_lines: Vec<String>,
}

impl Gateway {
    pub(crate) fn start() -> Gateway {
        Gateway::start_with(&[], &[])
    }

    pub(crate) fn cleartext(env: &[(&str, &str)]) -> Gateway {
        Gateway::start_with(&["--tls", "false"], env)
    }

    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Gateway {
        Gateway::start_in(tempfile::tempdir().expect("a temporary directory"), args, env)
    }

    pub(crate) fn start_in(dir: TempDir, args: &[&str], env: &[(&str, &str)]) -> Gateway {
        let mut command = plimsoll(dir.path());
        command.args(["--port", "0"]).args(args).envs(env.iter().copied());
        let mut running = Running::start(command);
        let first = running.line();
        let base = first.split(' ').nth(3).unwrap_or_else(|| panic!("no URL in: {first}")).to_string();
        assert_eq!(running.line(), "");
        let mut curl_lines = Vec::new();
        loop {
            match running.line().trim() {
                "" => break,
                line => curl_lines.push(line.to_string()),
            }
        }
        Gateway { running, dir, base, curl_lines }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.base.rsplit(':').next().expect("the URL has a port"))
    }

    pub(crate) fn curl(&self, path: &str, args: &[&str]) -> Answer {
        let http2 = if self.base.starts_with("https") { "--http2" } else { "--http2-prior-knowledge" };
        let url = format!("{}{path}", self.base);
        let output = curl(self.dir.path(), &[&["--cacert", "certs/ca.pem", http2], args, &[&url]].concat());
        Answer::parse(&output)
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &str) -> Answer {
        self.curl(path, &["-X", method, "-H", "content-type: application/json", "-d", body])
    }

    /// Ends the gateway in order, and says what it logged.
    pub(crate) fn stop(mut self) -> String {
        self.running.signal("TERM");
        let status = self.running.wait();
        let log = self.running.stderr();
        assert!(status.success(), "{status}: {log}");
        log
    }
}

pub(crate) fn curl(dir: &Path, args: &[&str]) -> Output {
    Command::new("curl")
        .current_dir(dir)
        .args(["-sS", "-i", "--max-time", "30", "-w", "\n%{http_code} %{http_version}"])
        .args(args)
        .output()
        .expect("curl must be installed: these tests speak HTTP/2 with it")
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(output: &Output) -> Answer {
        assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let (text, trailer) = text.rsplit_once('\n').expect("the line that -w asks for");
        let (status, version) = trailer.split_once(' ').expect("status and version");
        let (headers, body) = text.split_once("\r\n\r\n").expect("headers and body");
        Answer {
            status: status.parse().expect("a status"),
            version: version.into(),
            headers: headers.to_ascii_lowercase(),
            body: body.into(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// The code of an error, once its shape is found to be right.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        let timestamp = error["timestamp"].as_str().unwrap_or_default();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{body}");
        assert_eq!(error["requestId"].as_str(), self.header("x-request-id"), "{body}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{body}");
        error["code"].as_str().unwrap_or_default().into()
    }
}

/// A project service that answers with its own name.
pub(crate) async fn serve(name: &'static str) -> Server {
    Server::builder()
        .method("listProjects", move |_: Value, _: Ctx| async move { Ok(name) })
        .bind("127.0.0.1:0")
        .await
        .unwrap()
}

/// One whose calls do not end.
pub(crate) async fn stuck() -> Server {
    Server::builder()
        .method("listProjects", |_: Value, _: Ctx| pending::<Result<(), HandlerError>>())
        .bind("127.0.0.1:0")
        .await
        .unwrap()
}

/// Asks again and again until it is so, and fails if that takes too long.
pub(crate) fn until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "it did not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}
