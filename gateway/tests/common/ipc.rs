//! `plimsoll hub`, and services at it that are nothing but a socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, Running, plimsoll};

/// `plimsoll hub` in a directory of its own.
pub(crate) struct Hub {
    pub(crate) running: Running,
    pub(crate) dir: TempDir,
    pub(crate) socket: PathBuf,
}

impl Hub {
    pub(crate) fn start(args: &[&str]) -> Hub {
        Hub::start_in(tempfile::tempdir().unwrap(), args)
    }

    pub(crate) fn start_in(dir: TempDir, args: &[&str]) -> Hub {
        let socket = dir.path().join("hub.sock");
        let mut command = plimsoll(dir.path());
        command.args(["hub", "--socket", "hub.sock"]).args(args);
        let mut running = Running::start(command);
        // Where the temporary directory stands behind a link, the hub knows the way without it.
        let line = running.line();
        assert!(line.starts_with("hub at ipc:/") && line.ends_with("/hub.sock"), "{line}");
        Hub { running, dir, socket }
    }

    /// As its clients name it.
    pub(crate) fn address(&self) -> String {
        format!("ipc:{}", self.socket.display())
    }

    /// Somebody who has connected, and no more.
    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(&self.socket)
    }

    /// A service that is registered.
    pub(crate) fn register(&self, name: &str, methods: &[&str]) -> Raw {
        Raw::register(&self.socket, name, methods)
    }

    /// A registered service that answers each call of `echo` with its params, on a thread of its own.
    pub(crate) fn echo(&self, name: &str) {
        let mut raw = self.register(name, &["echo"]);
        thread::spawn(move || {
            while let Ok(call) = raw.try_receive() {
                raw.send(&answer(&call, &call["params"]));
            }
        });
    }
}

/// The answer to a call.
pub(crate) fn answer(call: &Value, data: &Value) -> Value {
    json!({
        "type": "RESPONSE", "id": call["id"], "from": call["to"], "to": call["from"],
        "status": "success", "data": data, "context": call["context"],
    })
}

/// A connection to a hub that sends what it likes.
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    pub(crate) name: String,
}

impl Raw {
    pub(crate) fn connect(socket: &Path) -> Raw {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Raw { stream, name: String::new() }
    }

    pub(crate) fn register(socket: &Path, name: &str, methods: &[&str]) -> Raw {
        let mut raw = Raw::connect(socket);
        raw.name = name.into();
        raw.send(&json!({ "type": "REGISTER", "serviceName": name, "methods": methods }));
        assert_eq!(raw.receive()["type"], "REGISTER_ACK");
        raw
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_body(message.to_string().as_bytes()).unwrap();
    }

    pub(crate) fn send_body(&mut self, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&[&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat())
    }

    /// Makes a call, and does not wait for its answer.
    pub(crate) fn begin(&mut self, id: &str, to: &str, method: &str, params: &Value) {
        let call = json!({
            "type": "CALL", "id": id, "from": self.name, "to": to, "method": method, "params": params,
            "context": { "root": "root-1", "chain": [self.name, to], "depth": 2, "deadline": unix_ms() + 60_000 },
        });
        self.send(&call);
    }

    pub(crate) fn call(&mut self, id: &str, to: &str, method: &str, params: &Value) -> Value {
        self.begin(id, to, method, params);
        let response = self.receive();
        assert_eq!((&response["type"], &response["id"]), (&"RESPONSE".into(), &id.into()), "{response}");
        response
    }

    pub(crate) fn receive(&mut self) -> Value {
        self.try_receive().unwrap()
    }

    pub(crate) fn try_receive(&mut self) -> io::Result<Value> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let mut body = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Whether the hub has ended the connection, once all that it had sent is read.
    pub(crate) fn ends(mut self) -> bool {
        match self.stream.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}
