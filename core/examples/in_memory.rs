//! 10,000 requests and their answers, in memory: no socket, no clock, no thread. CI runs it under WebAssembly.

use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, decode_request, decode_response, encode_request, encode_response,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits::default();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut answered = 0;
    for n in 0..10_000u32 {
        let content = format!("{{\"n\":{n}}}");
        let id = WireId::new(n, 0, 7);
        encode_request(&mut to_server, id, "echo", content.as_bytes(), &limits)?;

        let Step::Frame(request) = decode_request(&to_server, &limits, Mode::Strict)? else {
            return Err(format!("request {n} did not arrive whole").into());
        };
        encode_response(&mut to_client, request.id, &to_server[request.content], &limits)?;
        to_server.clear();

        let Step::Frame(answer) = decode_response(&to_client, &limits, Mode::Strict)? else {
            return Err(format!("the answer to {n} did not arrive whole").into());
        };
        if answer.id != id || &to_client[answer.content] != content.as_bytes() {
            return Err(format!("{n} was answered with something else").into());
        }
        to_client.clear();
        answered += 1;
    }
    println!("{answered} requests answered");
    Ok(())
}
