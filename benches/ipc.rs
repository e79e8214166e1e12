//! Bro IPC: what it costs to read a message, to convert one, and to route a call through the hub and its answer back.

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_core::wire::ipc::{Envelope, Format, Limits, Step, Value, convert, decode_frame};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// A call of 209 bytes, or of any length above.
fn call(params: usize) -> Vec<u8> {
    let params = "x".repeat(params);
    format!(
        r#"{{"type":"CALL","id":"req-1699005123456-a7f3e9","from":"order","to":"user","method":"get","params":"{params}","context":{{"root":"root-1699005123456-0a1b2c","chain":["order","user"],"depth":2,"deadline":1699005153456}}}}"#
    )
    .into_bytes()
}

fn packed(params: usize) -> Vec<u8> {
    let json = call(params);
    let mut out = Vec::new();
    convert(Value::parse(Format::Json, &json).unwrap(), Format::MessagePack, &mut out, usize::MAX).unwrap();
    out
}

fn parse(bencher: Bencher<'_, '_>, format: Format, body: &[u8]) {
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        let envelope = Envelope::parse(format, black_box(body)).unwrap();
        let context = envelope.context().unwrap();
        black_box((envelope.id().unwrap(), envelope.from().unwrap(), envelope.to().unwrap(), context.deadline));
    });
}

#[divan::bench(args = [8, 4096])]
fn envelope_json(bencher: Bencher<'_, '_>, params: usize) {
    parse(bencher, Format::Json, &call(params));
}

#[divan::bench(args = [8, 4096])]
fn envelope_message_pack(bencher: Bencher<'_, '_>, params: usize) {
    parse(bencher, Format::MessagePack, &packed(params));
}
