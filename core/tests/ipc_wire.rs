//! Messages of Bro IPC, as the public implementation sends them.

use plimsoll_core::error::{Malformed, ProtocolError};
use plimsoll_core::wire::ipc::{
    Envelope, Format, Kind, Limits, MessageError, Status, Step, Value, Writer, code, decode_frame,
    write_error, write_frame, write_heartbeat, write_register_ack,
};
use quickcheck::quickcheck;

const REGISTER: &str = r#"{"type":"REGISTER","serviceName":"user-service","methods":["getUserById"],"version":"1.0.0","metadata":{}}"#;
const CALL: &str = r#"{"type":"CALL","id":"req-1699005123456-a7f3e9","from":"order","to":"user","method":"get","params":{"userId":7},"context":{"root":"root-1","chain":["order","order"],"depth":2,"deadline":1699005153456}}"#;

/// The same as msgpackr 1.11 writes them.
const PACKED_REGISTER: &str = "de0005a474797065a85245474953544552ab736572766963654e616d65ac757365722d73657276696365a76d6574686f647391ab6765745573657242794964a776657273696f6ea5312e302e30a86d65746164617461de0000";
const PACKED_CALL: &str = "de0007a474797065a443414c4ca26964b87265712d313639393030353132333435362d613766336539a466726f6da56f72646572a2746fa475736572a66d6574686f64a3676574a6706172616d73de0001a675736572496407a7636f6e74657874de0004a4726f6f74a6726f6f742d31a5636861696e92a56f72646572a56f72646572a5646570746802a8646561646c696e65cb4278b949940b0000";
const PACKED_HEARTBEAT: &str = "de0003a474797065a9484541525442454154a466726f6dac757365722d73657276696365a974696d657374616d70cb4278b9498cb80000";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn json(body: &str) -> Result<Envelope<'_>, MessageError> {
    Envelope::parse(Format::Json, body.as_bytes())
}

fn packed(body: &[u8]) -> Result<Envelope<'_>, MessageError> {
    Envelope::parse(Format::MessagePack, body)
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

#[test]
fn the_length_is_big_endian_and_counts_the_body_alone() {
    let mut out = b"before".to_vec();
    write_register_ack(&mut out, Format::Json);
    assert_eq!(out, b"before\x00\x00\x00\x17{\"type\":\"REGISTER_ACK\"}");
    assert_eq!(decode_frame(&out[6..], &Limits::default()), Ok(Step::Frame(4..27)));
}

#[test]
fn a_length_above_the_limit_is_refused_before_its_body_comes() {
    let too_large = |len| Err(ProtocolError::TooLarge { len, limit: 16 << 20 });
    assert_eq!(decode_frame(b"\xff\xff\xff\xff", &Limits::default()), too_large(u64::from(u32::MAX)));
    assert_eq!(decode_frame(b"\x01\x00\x00\x01", &Limits::default()), too_large((16 << 20) + 1));
    assert_eq!(decode_frame(b"\x01\x00\x00\x00", &Limits::default()), Ok(Step::Need((16 << 20) + 4)));
}

#[test]
fn a_call_is_read_in_both_formats() {
    let bytes = hex(PACKED_CALL);
    for call in [json(CALL).unwrap(), packed(&bytes).unwrap()] {
        assert_eq!(call.kind(), Kind::Call);
        assert!(call.id().unwrap().is("req-1699005123456-a7f3e9"));
        assert!(call.from().unwrap().is("order") && call.to().unwrap().is("user"));
        assert!(call.method().unwrap().is("get"));
        assert_eq!(call.params().unwrap().member("userId").unwrap().number(), Some(7));
        let context = call.context().unwrap();
        assert!(context.root.is("root-1"));
        assert_eq!(context.chain.elements().unwrap().count(), 2);
        assert_eq!((context.depth, context.deadline), (2, 1_699_005_153_456));
    }
    assert_eq!(json(CALL).unwrap().params().unwrap().bytes(), br#"{"userId":7}"#);
    assert_eq!(packed(&bytes).unwrap().params().unwrap().bytes(), hex("de0001a675736572496407"));
}

#[test]
fn a_registration_is_read_in_both_formats() {
    let bytes = hex(PACKED_REGISTER);
    for register in [json(REGISTER).unwrap(), packed(&bytes).unwrap()] {
        assert_eq!(register.kind(), Kind::Register);
        assert!(register.service_name().unwrap().is("user-service"));
        assert!(register.methods().unwrap().map(|method| method.get().into_owned()).eq(["getUserById"]));
        assert!(register.version().unwrap().is("1.0.0"));
        assert_eq!(register.metadata().unwrap().members().unwrap().count(), 0);
    }
    let bare = json(r#"{"type":"REGISTER","serviceName":"a"}"#).unwrap();
    assert_eq!(bare.methods().unwrap().count(), 0);
    assert_eq!((bare.version(), bare.metadata()), (None, None));
    let wrong = json(r#"{"type":"REGISTER","serviceName":"a","methods":["x",1]}"#).unwrap();
    assert_eq!(wrong.methods().map(Iterator::count), Err(MessageError::BadField("methods")));
}

#[test]
fn a_response_is_a_success_or_an_error() {
    let success =
        json(r#"{"type":"RESPONSE","id":"1","from":"b","to":"a","status":"success","data":[1]}"#).unwrap();
    assert_eq!((success.kind(), success.status()), (Kind::Response, Ok(Status::Success)));
    assert_eq!(success.data().unwrap().bytes(), b"[1]");
    let error = r#"{"type":"RESPONSE","id":"1","from":"b","to":"a","status":"error","error":{"message":"no","code":"EXECUTION_FAILED","stack":"at"}}"#;
    let error = json(error).unwrap();
    assert_eq!(error.status(), Ok(Status::Error));
    let (code, message) = error.error();
    assert!(code.unwrap().is("EXECUTION_FAILED") && message.unwrap().is("no"));
    let neither = json(r#"{"type":"RESPONSE","status":"so-so"}"#).unwrap();
    assert_eq!(neither.status(), Err(MessageError::BadField("status")));
    // What a handler of the public implementation leaves undefined: `error.code`, in MessagePack.
    let undefined =
        packed(b"\x83\xa4type\xa8RESPONSE\xa6status\xa5error\xa5error\x82\xa7message\xa2no\xa4code\xd4\0\0");
    let (code, message) = undefined.as_ref().unwrap().error();
    assert!(code.is_none() && message.unwrap().is("no"));
}

#[test]
fn heartbeats_acknowledgements_and_errors_are_written_as_the_public_implementation_reads_them() {
    let mut out = Vec::new();
    write_heartbeat(&mut out, Format::MessagePack, "user-service", 1_699_005_123_456);
    // It writes maps with two bytes of length, where one half-byte does.
    assert_eq!(out[4..], hex(&PACKED_HEARTBEAT.replacen("de0003", "83", 1)));
    out.clear();
    write_error(&mut out, Format::Json, code::CONNECTION_FAILED, "the name \"a\" is taken", 7);
    let body = r#"{"type":"ERROR","error":{"message":"the name \"a\" is taken","code":"CONNECTION_FAILED"},"timestamp":7}"#;
    assert_eq!(core::str::from_utf8(&out[4..]).unwrap(), body);
    assert_eq!(json(body).unwrap().timestamp(), Some(7));
    let packed_body = hex(PACKED_HEARTBEAT);
    let beat = packed(&packed_body).unwrap();
    assert_eq!((beat.kind(), beat.timestamp()), (Kind::Heartbeat, Some(1_699_005_123_456)));
}

#[test]
fn a_field_is_told_by_what_its_name_says_and_stands_once() {
    let escaped = json(r#"{"\u0074ype":"CA\u004cL","fr\u006fm":"ord\u0065r"}"#).unwrap();
    assert_eq!(escaped.kind(), Kind::Call);
    assert!(escaped.from().unwrap().is("order"));
    for twice in [
        r#"{"type":"CALL","to":"a","to":"b"}"#,
        r#"{"type":"CALL","to":"a","\u0074o":"b"}"#,
        r#"{"type":"CALL","to":null,"to":"b"}"#,
    ] {
        assert_eq!(json(twice).err(), Some(MessageError::Twice("to")), "{twice}");
    }
    assert_eq!(packed(b"\x82\xa4type\xa4CALL\xa4type\xa4CALL").err(), Some(MessageError::Twice("type")));
    let context =
        json(r#"{"type":"CALL","context":{"root":"a","root":"b","chain":[],"depth":1,"deadline":1}}"#);
    assert_eq!(context.unwrap().context(), Err(MessageError::Twice("of a context")));
}

#[test]
fn a_field_is_missed_when_it_is_asked_for() {
    let call = json(r#"{"type":"CALL","id":7,"unknown":[]}"#).unwrap();
    assert_eq!(call.to().err(), Some(MessageError::Missing("to")));
    assert_eq!(call.id().err(), Some(MessageError::BadField("id")));
    assert_eq!(call.context().err(), Some(MessageError::Missing("context")));
    assert_eq!(json(r#"{"id":"1"}"#).err(), Some(MessageError::Missing("type")));
    assert_eq!(json(r#"{"type":"CALLS"}"#).err(), Some(MessageError::UnknownType));
    for context in [
        "null",
        "[]",
        r#"{"root":"","chain":[],"depth":1,"deadline":1}"#,
        r#"{"root":"a","chain":"a","depth":1,"deadline":1}"#,
        r#"{"root":"a","chain":[],"depth":0,"deadline":1}"#,
        r#"{"root":"a","chain":[],"depth":1,"deadline":null}"#,
        r#"{"root":"a","chain":[],"depth":1}"#,
    ] {
        let body = format!(r#"{{"type":"CALL","context":{context}}}"#);
        assert!(matches!(json(&body).unwrap().context(), Err(MessageError::BadField(_))), "{context}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_as_a_whole() {
    let malformed = |error| Some(MessageError::Malformed(error));
    assert_eq!(json("").err(), Some(MessageError::NotAMap));
    assert_eq!(json("[]").err(), Some(MessageError::NotAMap));
    assert_eq!(packed(b"{}").err(), Some(MessageError::NotAMap));
    assert_eq!(json(r#"{"type":"CALL"}}"#).err(), malformed(Malformed::Syntax { at: 15 }));
    assert_eq!(json(r#"{"type":"CALL","params":{"a":tru}}"#).err(), malformed(Malformed::Syntax { at: 29 }));
    assert_eq!(json(r#"{"type":"CALL""#).err(), malformed(Malformed::Truncated));
    let invalid = Envelope::parse(Format::Json, b"{\"type\":\"CALL\",\"params\":\"\xff\"}");
    assert_eq!(invalid.err(), malformed(Malformed::NotUtf8));
    assert_eq!(packed(b"\x82\xa4type\xa4CALL\xa6params\xa1\xff").err(), malformed(Malformed::NotUtf8));
    assert_eq!(packed(b"\x81\xa4type\xa4CALL\xc0").err(), malformed(Malformed::Syntax { at: 11 }));
    assert_eq!(packed(b"\x81\x07\xa4CALL").err(), malformed(Malformed::Syntax { at: 1 }));
    let deep = |n: usize| format!(r#"{{"type":"CALL","params":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(json(&deep(127)).is_ok());
    assert_eq!(json(&deep(128)).err(), malformed(Malformed::TooDeep));
    assert_eq!(json(&deep(1_000_000)).err(), malformed(Malformed::TooDeep));
    let deep = |n: usize| [b"\x82\xa4type\xa4CALL\xa6params", &[0x91].repeat(n)[..], b"\xc0"].concat();
    assert!(packed(&deep(127)).is_ok());
    assert_eq!(packed(&deep(128)).err(), malformed(Malformed::TooDeep));
    assert_eq!(packed(&deep(1_000_000)).err(), malformed(Malformed::TooDeep));
}

#[test]
fn a_message_above_the_limit_is_not_written() {
    let mut out = b"kept".to_vec();
    let limits = Limits { body: 10 };
    let written: Result<(), plimsoll_core::error::Misuse> =
        write_frame(&mut out, Format::Json, &limits, |body| {
            body.text("more than ten bytes");
            Ok(())
        });
    assert!(written.is_err());
    assert_eq!(out, b"kept");
}

#[test]
fn people_see_messages_with_their_parameters_cut() {
    let body =
        format!(r#"{{"type":"CALL","id":"1","method":"get","params":"{}","more":1}}"#, "x".repeat(200));
    let shown = json(&body).unwrap().to_string();
    assert_eq!(shown, format!(r#"{{type: "CALL", id: "1", method: "get", params: "{}...}}"#, "x".repeat(99)));
}

quickcheck! {
    /// Any cut of the stream gives the same messages.
    fn however_a_stream_is_cut_its_messages_are_the_same(bodies: Vec<Vec<u8>>, cuts: Vec<u8>) -> bool {
        let limits = Limits { body: 40 };
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let mut whole = Vec::new();
        let mut at = 0;
        while let Ok(Step::Frame(body)) = decode_frame(&stream[at..], &limits) {
            whole.push(stream[at..][body.clone()].to_vec());
            at += body.end;
        }
        let fitting = bodies.iter().take_while(|body| body.len() <= 40).count();
        let (mut cut, mut gathered, mut rest) = (Vec::new(), Vec::new(), &stream[..]);
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let piece = rest.len().min(1 + usize::from(cuts.next().copied().unwrap_or(0) % 7));
            gathered.extend_from_slice(&rest[..piece]);
            rest = &rest[piece..];
            loop {
                match decode_frame(&gathered, &limits) {
                    Ok(Step::Frame(body)) => {
                        cut.push(gathered[body.clone()].to_vec());
                        gathered.drain(..body.end);
                    }
                    Ok(Step::Need(more)) => {
                        if more <= gathered.len() {
                            return false;
                        }
                        break;
                    }
                    Err(_) => return whole == cut && whole.len() == fitting,
                }
            }
        }
        whole == cut && whole == bodies[..fitting]
    }

    /// Any part of a message is refused, and none brings the reader down.
    fn a_part_of_a_message_is_no_message(at: usize) -> bool {
        let bytes = hex(PACKED_CALL);
        json(&CALL[..at % CALL.len()]).is_err() && packed(&bytes[..at % bytes.len()]).is_err()
    }

    fn any_bytes_are_a_message_or_an_error(start: bool, bytes: Vec<u8>, at: usize, with: Vec<u8>) -> bool {
        let body = if start { bytes } else {
            let mut call = hex(PACKED_CALL);
            let at = at % call.len();
            let end = call.len().min(at + with.len());
            call.splice(at..end, with);
            call
        };
        let _ = packed(&body).map(|envelope| envelope.to_string());
        let _ = Envelope::parse(Format::Json, &body).map(|envelope| envelope.to_string());
        true
    }

    fn text_of_any_kind_is_written_and_read_back(text: String, format: bool, number: u64) -> bool {
        let format = if format { Format::Json } else { Format::MessagePack };
        let mut out = Vec::new();
        let mut body = Writer::new(format, &mut out);
        body.object(2);
        body.key("a").text(&text);
        body.key(&text).array(3);
        body.number(number);
        body.null();
        body.bool(true);
        body.end_array();
        body.end_object();
        let value = Value::parse(format, &out).unwrap();
        let last = value.members().unwrap().last().unwrap();
        value.member("a").unwrap().text().unwrap().is(&text)
            && last.0.is(&text)
            && last.1.elements().unwrap().count() == 3
            && last.1.elements().unwrap().next().unwrap().number() == Some(number)
    }
}
