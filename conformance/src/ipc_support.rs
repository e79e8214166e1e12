//! Hubs, and services that are plain sockets.

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::ipc::client::Builder;
use plimsoll_core::drive::ipc::{Client, Hub};
use plimsoll_core::wire::ipc::{Format, Value as Lent, convert};
use serde_json::{Value, json};

use crate::ground::{Wire, ground};
use crate::support::within;

pub(crate) fn hub<R: Runtime>(runtime: &R) -> Hub<R> {
    within("a free port", Hub::on(runtime.clone()).bind("127.0.0.1:0")).expect("a free port")
}

/// Where a hub listens, for plain sockets.
pub(crate) fn port<R: Runtime>(hub: &Hub<R>) -> String {
    hub.local_addr().to_string()
}

/// A service of that hub, to be built.
pub(crate) fn service<R: Runtime>(runtime: &R, hub: &Hub<R>, name: &str) -> Builder<R> {
    Client::on(runtime.clone(), name).path(&hub.local_addr().to_string())
}

pub(crate) fn connected<R: Runtime>(service: Builder<R>) -> Client<R> {
    let client = service.build().expect("a good name");
    within("the connection", client.connect()).expect("the hub is there");
    client
}

/// A service that is a plain socket, and says what it is told to say.
pub(crate) struct RawService {
    pub(crate) stream: Box<dyn Wire>,
    format: Format,
    unread: Vec<u8>,
}

impl RawService {
    pub(crate) fn connect(address: &str, format: Format) -> RawService {
        let stream = ground().connect(address).expect("somebody listens");
        RawService { stream, format, unread: Vec::new() }
    }

    /// One that has registered, for one method or for none.
    pub(crate) fn registered(address: &str, name: &str, methods: &[&str]) -> RawService {
        let mut service = RawService::connect(address, Format::Json);
        service.send(&json!({ "type": "REGISTER", "serviceName": name, "methods": methods }));
        assert_eq!(service.next().expect("an acknowledgement")["type"], "REGISTER_ACK");
        service
    }

    pub(crate) fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let mut body = Vec::new();
        let lent = Lent::parse(Format::Json, text.as_bytes()).expect("JSON");
        convert(lent, self.format, &mut body, usize::MAX).expect("no strange numbers");
        self.send_bytes(&frame(&body));
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the hub reads");
    }

    pub(crate) fn call(&mut self, from: &str, to: &str, method: &str, id: &str, params: Value) {
        let context =
            json!({ "root": "root-1", "chain": [from, to], "depth": 2, "deadline": u64::MAX >> 12 });
        self.send(&json!({
            "type": "CALL", "id": id, "from": from, "to": to, "method": method, "params": params, "context": context
        }));
    }

    /// Answers a call with what it was called with.
    pub(crate) fn echo(&mut self, call: &Value) {
        self.send(&json!({
            "type": "RESPONSE", "id": call["id"], "from": call["to"], "to": call["from"], "status": "success",
            "data": call["params"], "context": call["context"]
        }));
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((header, rest)) = self.unread.split_first_chunk::<4>()
                && let Some(body) = rest.get(..u32::from_be_bytes(*header) as usize)
            {
                let mut text = Vec::new();
                let value = Lent::parse(self.format, body).expect("a good message");
                convert(value, Format::Json, &mut text, usize::MAX).expect("no strange values");
                let end = 4 + body.len();
                self.unread.drain(..end);
                return Some(serde_json::from_slice(&text).expect("JSON"));
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer in time: {error}"),
            }
        }
    }
}

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}
