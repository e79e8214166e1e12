//! The decoder: vectors, and properties.

use plimsoll_core::error::ProtocolError;
use plimsoll_core::service::{Protocol, Verdict};
use quickcheck::{Arbitrary, Gen, quickcheck};

use crate::fuzzing::{LIMITS, Stream, decode_in_pieces_within, write};
use crate::{Answer, Limits, Resp, Value, broken};

fn decode(bytes: &[u8]) -> Stream {
    decode_in_pieces_within(bytes, bytes.len().max(1), Limits::default())
}

#[track_caller]
fn one(bytes: &[u8]) -> Answer {
    let mut stream = decode(bytes);
    assert_eq!((stream.answers.len(), &stream.rest), (1, &Ok(0)), "{stream:?}");
    stream.answers.remove(0)
}

/// A value that owns all it is made of.
#[derive(Clone, Debug)]
enum Tree {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Tree>),
}

impl Arbitrary for Tree {
    fn arbitrary(g: &mut Gen) -> Self {
        let line = |g: &mut Gen| {
            let mut line = Vec::<u8>::arbitrary(g);
            line.retain(|byte| !b"\r\n".contains(byte));
            line
        };
        match u8::arbitrary(g) % 8 {
            0 => Tree::Simple(line(g)),
            1 => Tree::Error(line(g)),
            2 => Tree::Integer(i64::arbitrary(g)),
            3 => Tree::Null,
            4 | 5 => Tree::Bulk(Vec::arbitrary(g)),
            _ if g.size() < 8 => Tree::Array(Vec::new()),
            _ => {
                let mut smaller = Gen::new(g.size() / 4);
                Tree::Array(Vec::arbitrary(&mut smaller))
            }
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match self {
            Tree::Array(items) => Box::new(items.clone().into_iter().chain(items.shrink().map(Tree::Array))),
            Tree::Null => Box::new(std::iter::empty()),
            _ => Box::new([Tree::Null].into_iter()),
        }
    }
}

impl Tree {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Tree::Simple(text) => write(&mut out, Value::Simple(text)),
            Tree::Error(text) => write(&mut out, Value::Error(text)),
            Tree::Integer(n) => write(&mut out, Value::Integer(*n)),
            Tree::Bulk(bytes) => write(&mut out, Value::Bulk(bytes)),
            Tree::Null => write(&mut out, Value::Null),
            Tree::Array(items) => {
                out.extend(format!("*{}\r\n", items.len()).into_bytes());
                items.iter().for_each(|item| out.extend(item.bytes()));
            }
        }
        out
    }

    fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Tree::Simple(a), Value::Simple(b)) | (Tree::Error(a), Value::Error(b)) => a == b,
            (Tree::Bulk(a), Value::Bulk(b)) => a == b,
            (Tree::Integer(a), Value::Integer(b)) => *a == b,
            (Tree::Null, Value::Null) => true,
            (Tree::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b)),
            _ => false,
        }
    }
}

quickcheck! {
    fn what_was_written_is_read_and_nothing_of_what_follows(trees: Vec<Tree>, piece: u8) -> bool {
        let bytes: Vec<u8> = trees.iter().flat_map(Tree::bytes).collect();
        let stream = decode_in_pieces_within(&bytes, usize::from(piece).max(1), Limits::default());
        stream.rest == Ok(0)
            && stream.answers.len() == trees.len()
            && trees.iter().zip(&stream.answers).all(|(tree, answer)| tree.is(answer.value()))
    }

    /// Values that are cut off and spoiled, in pieces of any length.
    fn garbage_keeps_the_promises_of_the_fuzz_target(trees: Vec<Tree>, spoiled: Vec<(u16, u8)>, piece: u8) -> bool {
        let mut bytes = vec![piece];
        bytes.extend(trees.iter().flat_map(Tree::bytes));
        for (at, byte) in spoiled.into_iter().take(4) {
            let at = usize::from(at) % bytes.len();
            bytes[at] = b"+-:$*\r\n0129x"[usize::from(byte) % 12];
        }
        crate::fuzzing::resp(&bytes);
        true
    }
}

#[test]
fn every_kind_of_value_is_read() {
    assert_eq!(one(b"+OK\r\n").value(), Value::Simple(b"OK"));
    assert_eq!(one(b"-ERR no\r\n").value(), Value::Error(b"ERR no"));
    assert_eq!(one(b":-9223372036854775808\r\n").integer(), Some(i64::MIN));
    assert_eq!(one(b":+7\r\n").integer(), Some(7));
    assert_eq!(one(b"$3\r\na\r\n\r\n").bytes(), Some(&b"a\r\n"[..]));
    assert_eq!(one(b"$0\r\n\r\n").into_bytes(), Some(vec![]));
    assert_eq!(one(b"$5\r\nhello\r\n").into_bytes(), Some(b"hello".to_vec()));
    assert!(one(b"$-1\r\n").is_null() && one(b"*-1\r\n").is_null());
    let nested = one(b"*3\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n*1\r\n-no\r\n");
    assert_eq!(format!("{nested:?}"), r#"[[Integer(1), []], Bulk("x"), [Error("no")]]"#);
    assert_eq!(one(b"*0\r\n"), one(b"*0\r\n"));
    assert_ne!(one(b"*0\r\n"), one(b"$-1\r\n"));
}

#[test]
fn what_breaks_the_rules_is_told_as_soon_as_it_is_known() {
    use broken::*;
    let cases: [(&[u8], u16); 15] = [
        (b"x", TYPE),
        (b"\r", TYPE),
        (b"\r\n", TYPE),
        (b"+OK\n", LINE),
        (b"+OK\rx", LINE),
        (b":\r\n", NUMBER),
        (b":-\r\n", NUMBER),
        (b":1x\r\n", NUMBER),
        (b":9223372036854775808\r\n", NUMBER),
        (b"$-2\r\n", NUMBER),
        (b"*-2\r\n", NUMBER),
        (b"$1111111111111111111111", NUMBER),
        (b"$1\r\nxyz", BULK),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", DEPTH),
        (b"*2\r\n:1\r\n\0", TYPE),
    ];
    for (bytes, why) in cases {
        let stream = decode(bytes);
        assert_eq!(stream.rest, Err(ProtocolError::Other(why)), "{:?}", String::from_utf8_lossy(bytes));
    }
    let long = [b"+".as_slice(), &[b'x'; 65_536]].concat();
    assert_eq!(decode(&long).rest, Err(ProtocolError::Other(LINE)));
}

#[test]
fn hostile_sizes_are_refused_before_anything_waits_for_them() {
    let within = |bytes: &[u8]| decode_in_pieces_within(bytes, 1, LIMITS).rest;
    let too_large = |len, limit| Err(ProtocolError::TooLarge { len, limit });
    assert_eq!(within(b"$4294967296\r\n"), too_large(4_294_967_296, 4_096));
    assert_eq!(within(b"$9223372036854775807\r\n"), too_large(i64::MAX as u64, 4_096));
    assert_eq!(within(b"$4090\r\n"), too_large(4_099, 4_096), "with its head and its end");
    assert_eq!(within(b"*65\r\n"), too_large(65, 64));
    assert_eq!(within(b"*2000000000\r\n"), too_large(2_000_000_000, 64));
    // What stands behind it is counted with what it announces.
    let rest = [b"*64\r\n$3900\r\n".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(within(&rest), too_large(5 + 7 + 3_902 + 63 * 3, 4_096));
    let deep = [b"*64\r\n".repeat(5), vec![b'x'; 800]].concat();
    assert_eq!(within(&deep), Err(ProtocolError::Other(broken::DEPTH)));
}

#[test]
fn a_long_answer_in_small_pieces_is_looked_at_once() {
    let bulk = [b"$100000\r\n".as_slice(), &[b'x'; 100_000], b"\r\n"].concat();
    assert!(decode_in_pieces_within(&bulk, 1, Limits::default()).asked <= 12);
    // Of many values, none is read twice: what the decoder does is bounded by how often it is asked, and by the bytes.
    let array = [b"*100000\r\n".as_slice(), &b"$8\r\nabcdefgh\r\n".repeat(100_000)].concat();
    let stream = decode_in_pieces_within(&array, 100, Limits::default());
    assert_eq!(stream.answers.len(), 1);
    assert!(stream.asked < 100, "{}", stream.asked);
    let Value::Array(items) = stream.answers[0].value() else { panic!() };
    assert!(items.len() == 100_000 && items.into_iter().all(|item| item == Value::Bulk(b"abcdefgh")));
}

#[test]
fn an_error_is_judged_by_its_first_word() {
    let resp = Resp::default();
    let verdict = |content| match resp.verdict(content) {
        Verdict::Success => panic!(),
        Verdict::Failure { code, message, unhealthy, overloaded } => (code, message, unhealthy, overloaded),
    };
    assert_eq!(verdict(b"-ERR no such key\r\n"), ("ERR", "no such key", false, false));
    assert_eq!(verdict(b"-LOADING data\r\n"), ("LOADING", "data", true, false));
    assert_eq!(verdict(b"-BUSY a script\r\n"), ("BUSY", "a script", true, true));
    assert_eq!(verdict(b"-OOM no\r\n"), ("OOM", "no", false, false));
    assert_eq!(verdict(b"-ALONE\r\n"), ("ALONE", "", false, false));
    assert_eq!(verdict(b"-\r\n"), ("", "", false, false));
    assert_eq!(verdict(b"-ERR key \xff\xfe is bad\r\n"), ("ERR", "key ", false, false));
    assert_eq!(resp.verdict(b"*1\r\n-ERR no\r\n"), Verdict::Success, "it is a part of an answer");
}

#[test]
fn it_greets_with_what_it_was_given_and_never_prints_the_password() {
    let resp = Resp::default().user("app").password("open sesame").database(3);
    let mut out = Vec::new();
    assert_eq!(resp.greet(&mut out), 2);
    let hello = "*5\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$11\r\nopen sesame\r\n";
    assert_eq!(out, [hello, "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"].concat().as_bytes());
    assert!(!format!("{resp:?}").contains("sesame"));
}

#[test]
fn every_seed_of_the_fuzz_target_keeps_its_promises() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/resp");
    let seeds = std::fs::read_dir(seeds).expect("the target has seeds");
    let replayed =
        seeds.map(|seed| crate::fuzzing::resp(&std::fs::read(seed.unwrap().path()).unwrap())).count();
    assert!(replayed > 5);
}
