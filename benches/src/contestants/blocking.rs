//! Clients that block, by hand: what one writes who has threads. No deadline, no queue, no policy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, RESPONSE_HEADER, Step, decode_response, encode_request};

use super::report::{answered_here, done, ready};
use super::{Load, METHOD, NOT_WHAT_WAS_SENT};
use crate::Result;

/// How much is read at once.
const BLOCK: usize = 64 << 10;

/// A thread for each request that is in flight, each with a client that `make` makes for it, by its number.
pub(super) fn on_threads<C>(load: &Load, make: impl Fn(u64) -> Result<C>) -> Result<()>
where
    C: FnMut(Vec<u8>) -> Result<Vec<u8>> + Send,
{
    let threads = u64::from(load.connections * load.in_flight);
    let clients: Vec<C> = (0..threads).map(make).collect::<Result<_>>()?;
    ready("");
    thread::scope(|scope| {
        let call = |(at, mut client): (u64, C)| {
            let mut content = load.content();
            move || -> Result<()> {
                for _ in 0..load.share(at, threads) {
                    content = client(content)?;
                    if content.len() != load.size as usize {
                        return Err(NOT_WHAT_WAS_SENT.into());
                    }
                    answered_here();
                }
                Ok(())
            }
        };
        let running: Vec<_> = (0..).zip(clients).map(|client| scope.spawn(call(client))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("it panicked".into())))
    })?;
    done(load.requests());
    Ok(())
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The id of a caller's request: its own number, and that of the request.
fn wire_id(caller: u64, request: u64) -> WireId {
    WireId((u128::from(request) << 64 | u128::from(caller)).to_le_bytes())
}

/// Takes the first answer out of what was read.
fn answer(bytes: &mut Vec<u8>, into: &mut Vec<u8>) -> Result<Option<WireId>> {
    let Step::Frame(head) = decode_response(bytes, &Limits::default(), Mode::Strict)? else {
        return Ok(None);
    };
    into.clear();
    into.extend_from_slice(&bytes[RESPONSE_HEADER..head.content.end]);
    bytes.drain(..head.content.end);
    Ok(Some(head.id))
}

/// Reads what there is.
fn read(stream: &mut TcpStream, block: &mut [u8], bytes: &mut Vec<u8>) -> Result<()> {
    match stream.read(block)? {
        0 => Err("the server has closed a connection".into()),
        n => {
            bytes.extend_from_slice(&block[..n]);
            Ok(())
        }
    }
}

/// Each thread writes its request, and reads until it has the answer.
pub(super) fn client(address: &str, load: &Load) -> Result<()> {
    on_threads(load, |caller| {
        let mut stream = connect(address)?;
        let (mut out, mut bytes, mut block) = (Vec::new(), Vec::new(), vec![0; BLOCK]);
        let mut request = 0;
        Ok(move |mut content: Vec<u8>| {
            request += 1;
            out.clear();
            encode_request(&mut out, wire_id(caller, request), METHOD, &content, &Limits::default())?;
            stream.write_all(&out)?;
            loop {
                match answer(&mut bytes, &mut content)? {
                    Some(id) if id == wire_id(caller, request) => return Ok(content),
                    Some(_) => return Err("an answer to nothing".into()),
                    None => read(&mut stream, &mut block, &mut bytes)?,
                }
            }
        })
    })
}

/// Where a caller waits.
struct Place {
    thread: Option<Thread>,
    request: u64,
    content: Option<Vec<u8>>,
}

/// One connection for all: each thread writes its request, and is woken by the one that reads.
pub(super) fn shared_client(address: &str, load: &Load) -> Result<()> {
    let stream = connect(address)?;
    let empty = || Mutex::new(Place { thread: None, request: 0, content: None });
    let places: Arc<[_]> = (0..load.connections * load.in_flight).map(|_| empty()).collect();
    let mut reading = stream.try_clone()?;
    let waiting = places.clone();
    thread::spawn(move || {
        if let Err(error) = take_answers(&mut reading, &waiting) {
            eprintln!("blocking-shared: {error}");
            std::process::exit(1);
        }
    });
    let writer = Arc::new(Mutex::new(stream));
    on_threads(load, |caller| {
        let (places, writer) = (places.clone(), writer.clone());
        let mut out = Vec::new();
        Ok(move |content: Vec<u8>| {
            let place = &places[caller as usize];
            let request = {
                let mut place = place.lock().unwrap();
                place.thread.get_or_insert_with(thread::current);
                place.request += 1;
                place.request
            };
            out.clear();
            encode_request(&mut out, wire_id(caller, request), METHOD, &content, &Limits::default())?;
            writer.lock().unwrap().write_all(&out)?;
            loop {
                if let Some(content) = place.lock().unwrap().content.take() {
                    return Ok(content);
                }
                thread::park();
            }
        })
    })
}

fn take_answers(stream: &mut TcpStream, places: &[Mutex<Place>]) -> Result<()> {
    let (mut bytes, mut block) = (Vec::new(), vec![0; BLOCK]);
    loop {
        read(stream, &mut block, &mut bytes)?;
        let mut content = Vec::new();
        while let Some(id) = answer(&mut bytes, &mut content)? {
            let number = u128::from_le_bytes(id.0);
            let place = places.get(number as u64 as usize).ok_or("an answer to nothing")?;
            let thread = {
                let mut place = place.lock().unwrap();
                if wire_id(number as u64, place.request) != id {
                    return Err("an answer to nothing".into());
                }
                place.content = Some(std::mem::take(&mut content));
                place.thread.clone()
            };
            // It would only wait for the lock.
            thread.iter().for_each(Thread::unpark);
        }
    }
}
