//! From JSON to MessagePack and back.

use plimsoll_core::wire::ipc::{ConvertError, Format, Value, convert};
use quickcheck::{Arbitrary, Gen, quickcheck};
use serde_json::json;

fn pack(text: &str) -> Result<Vec<u8>, ConvertError> {
    let mut out = Vec::new();
    let value = Value::parse(Format::Json, text.as_bytes()).expect("the test is JSON");
    convert(value, Format::MessagePack, &mut out, usize::MAX).map(|()| out)
}

fn unpack(bytes: &[u8]) -> Result<String, ConvertError> {
    let mut out = Vec::new();
    let value = Value::parse(Format::MessagePack, bytes).expect("the test is MessagePack");
    convert(value, Format::Json, &mut out, usize::MAX)
        .map(|()| String::from_utf8(out).expect("JSON is UTF-8"))
}

/// JSON of any shape; numbers of any size.
#[derive(Clone, Debug)]
struct Any(serde_json::Value);

impl Arbitrary for Any {
    fn arbitrary(g: &mut Gen) -> Self {
        Any(any(g, 4))
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match &self.0 {
            serde_json::Value::Array(items) => Box::new(items.clone().into_iter().map(Any)),
            serde_json::Value::Object(items) => {
                Box::new(items.clone().into_iter().map(|(_, value)| Any(value)))
            }
            _ => quickcheck::empty_shrinker(),
        }
    }
}

fn any(g: &mut Gen, depth: u32) -> serde_json::Value {
    let items = u8::arbitrary(g) % 20;
    match u8::arbitrary(g) % if depth == 0 { 7 } else { 9 } {
        0 => json!(null),
        1 => json!(bool::arbitrary(g)),
        2 => json!(u64::arbitrary(g) >> (u8::arbitrary(g) % 64)),
        3 => json!(i64::arbitrary(g) >> (u8::arbitrary(g) % 64)),
        // Few digits: `serde_json` reads those to the bit.
        4 => json!(f64::from(i32::arbitrary(g)) / 8.0),
        5 | 6 => json!(String::arbitrary(g)),
        7 => (0..items).map(|_| any(g, depth - 1)).collect(),
        _ => (0..items)
            .map(|_| (String::arbitrary(g), any(g, depth - 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// The same, with whole floats as integers: JSON that JavaScript writes does not tell them apart.
fn as_javascript_sees(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Number(number) => match number.as_f64() {
            Some(float)
                if !number.is_u64() && !number.is_i64() && float.fract() == 0.0 && float.abs() < 9e15 =>
            {
                json!(float as i64)
            }
            _ => value.clone(),
        },
        serde_json::Value::Array(items) => items.iter().map(as_javascript_sees).collect(),
        serde_json::Value::Object(items) => {
            let items = items.iter().map(|(key, value)| (key.clone(), as_javascript_sees(value)));
            items.collect::<serde_json::Map<_, _>>().into()
        }
        _ => value.clone(),
    }
}

quickcheck! {
    fn there_and_back_says_the_same(any: Any) -> bool {
        let text = any.0.to_string();
        let back = unpack(&pack(&text).unwrap()).unwrap();
        let back: serde_json::Value = serde_json::from_str(&back).unwrap();
        as_javascript_sees(&back) == as_javascript_sees(&any.0)
    }

    fn what_is_packed_is_one_whole_value(any: Any) -> bool {
        let packed = pack(&serde_json::to_string_pretty(&any.0).unwrap()).unwrap();
        Value::parse(Format::MessagePack, &packed).is_ok() && packed == pack(&any.0.to_string()).unwrap()
    }

    /// Any value that MessagePack can say is refused, or becomes one whole value of JSON.
    fn what_is_unpacked_is_json(bytes: Vec<u8>) -> bool {
        let Ok(value) = Value::parse(Format::MessagePack, &bytes) else { return true };
        let mut out = Vec::new();
        match convert(value, Format::Json, &mut out, usize::MAX) {
            Ok(()) => serde_json::from_slice::<serde_json::Value>(&out).is_ok(),
            Err(_) => out.is_empty(),
        }
    }

    fn no_more_is_written_than_allowed_but_for_one_item(any: Any, limit: u16) -> bool {
        let text = any.0.to_string();
        let mut out = b"before".to_vec();
        let value = Value::parse(Format::Json, text.as_bytes()).unwrap();
        let limit = usize::from(limit % 200);
        match convert(value, Format::MessagePack, &mut out, limit) {
            Ok(()) => out.len() - 6 <= limit,
            Err(error) => error == ConvertError::TooLarge { limit } && out == b"before",
        }
    }
}

#[test]
fn numbers_keep_their_value() {
    for (text, packed) in [
        ("0", &b"\x00"[..]),
        ("127", b"\x7f"),
        ("-1", b"\xff"),
        ("-33", b"\xd0\xdf"),
        ("4294967295", b"\xce\xff\xff\xff\xff"),
        // What msgpackr 1.11 writes for the same: above 32 bits a float, beyond 2^53 (as a BigInt) an integer.
        ("4294967296", b"\xcb\x41\xf0\x00\x00\x00\x00\x00\x00"),
        ("-2147483649", b"\xcb\xc1\xe0\x00\x00\x00\x20\x00\x00"),
        ("1699005123456", b"\xcb\x42\x78\xb9\x49\x8c\xb8\x00\x00"),
        ("9007199254740992", b"\xcb\x43\x40\x00\x00\x00\x00\x00\x00"),
        ("9007199254740993", b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01"),
        ("-9007199254740993", b"\xd3\xff\xdf\xff\xff\xff\xff\xff\xff"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("1.5", b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"),
        ("1e-7", b"\xcb\x3e\x7a\xd7\xf2\x9a\xbc\xaf\x48"),
        ("1e300", b"\xcb\x7e\x37\xe4\x3c\x88\x00\x75\x9c"),
    ] {
        assert_eq!(pack(text).unwrap(), packed, "{text}");
        assert_eq!(unpack(packed).unwrap(), text);
    }
    assert_eq!(unpack(&pack("-0").unwrap()).unwrap(), "-0");
    assert_eq!(unpack(b"\xca\x3f\x80\x00\x00").unwrap(), "1");
    assert_eq!(pack("1e999"), Err(ConvertError::Number));
    let beyond = pack("123456789012345678901234567890").unwrap();
    assert_eq!(unpack(&beyond).unwrap(), "1.2345678901234568e29", "no integer of 64 bits");
    for not_finite in [b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\0\0"] {
        assert_eq!(unpack(not_finite).unwrap(), "null");
    }
}

#[test]
fn what_json_has_no_words_for_is_said_otherwise_or_refused() {
    assert_eq!(unpack(b"\xc4\x00").unwrap(), r#""""#);
    assert_eq!(unpack(b"\xc4\x01f").unwrap(), r#""Zg==""#);
    assert_eq!(unpack(b"\xc4\x02fo").unwrap(), r#""Zm8=""#);
    assert_eq!(unpack(b"\xc4\x03foo").unwrap(), r#""Zm9v""#);
    assert_eq!(unpack(b"\xc4\x04\xff\xef\xbf\xbe").unwrap(), r#""/++/vg==""#);
    // new Date(0), by msgpackr.
    assert_eq!(unpack(b"\x91\xd6\xff\0\0\0\0"), Err(ConvertError::Extension(-1)));
    assert_eq!(unpack(b"\x81\x07\x07"), Err(ConvertError::Key));
}

#[test]
fn undefined_is_left_out_of_objects_and_null_elsewhere() {
    // {data: undefined, code: undefined, x: [undefined]}, by msgpackr 1.11.
    assert_eq!(
        unpack(b"\xde\0\x03\xa4data\xd4\0\0\xa4code\xd4\0\0\xa1x\x91\xd4\0\0").unwrap(),
        r#"{"x":[null]}"#
    );
    assert_eq!(unpack(b"\x82\xa1a\x01\xa1b\xd4\0\0").unwrap(), r#"{"a":1}"#);
    assert_eq!(unpack(b"\x81\xa1a\x81\xa1b\xd4\0\0").unwrap(), r#"{"a":{}}"#);
    assert_eq!(unpack(b"\xd4\0\0").unwrap(), "null");
}

#[test]
fn text_is_taken_for_what_it_says() {
    assert_eq!(
        pack(r#""\u00e9\ud83d\ude00\ud800\/""#).unwrap(),
        "\u{aa}é😀\u{fffd}/".as_bytes()[1..].to_vec()
    );
    assert_eq!(unpack(b"\xa5\"\\\n\x01/").unwrap(), r#""\"\\\n\u0001/""#);
    assert_eq!(pack(r#"{"\u0061":"b"}"#).unwrap(), b"\xde\x00\x01\xa1a\xa1b");
}

#[test]
fn containers_have_room_for_their_length_and_are_not_moved() {
    let nulls = |n: usize| format!("[{}]", vec!["null"; n].join(","));
    assert_eq!(pack("[]").unwrap(), b"\xdc\0\0");
    assert_eq!(pack("[[],{}]").unwrap(), b"\xdc\0\x02\xdc\0\0\xde\0\0");
    for n in [26_000, 70_000] {
        let packed = pack(&nulls(n)).unwrap();
        assert_eq!(packed.len() - n, if n < 30_000 { 3 } else { 5 });
        assert_eq!(unpack(&packed).unwrap(), nulls(n));
    }
}
