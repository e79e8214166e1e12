use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt::Debug;
use core::net::SocketAddr;
use core::num::NonZeroU32;
use core::time::Duration;

use quickcheck::{TestResult, quickcheck};

use super::{Damaged, Reader, Save, Snapshot, VERSION, Writer, checksum};

fn bytes(value: &impl Save) -> Vec<u8> {
    let mut out = Writer::new();
    value.save(&mut out);
    out.into_bytes()
}

fn load<T: Save>(bytes: &[u8]) -> Result<T, Damaged> {
    let mut from = Reader::new(bytes);
    let value = T::load(&mut from)?;
    from.finish()?;
    Ok(value)
}

/// It comes back, from all of its bytes and from no fewer.
fn comes_back<T: Save + PartialEq + Debug>(value: T) -> bool {
    let bytes = bytes(&value);
    let cut = |n| load::<T>(&bytes[..n]).is_err();
    load(&bytes).as_ref() == Ok(&value) && (0..bytes.len()).all(cut)
}

quickcheck! {
    fn unsigned_integers_come_back(a: u8, b: u16, c: u32, d: u64, e: u128, f: usize) -> bool {
        comes_back((a, b, (c, d))) && comes_back((e, f))
    }

    fn signed_integers_come_back(a: i8, b: i16, c: i32, d: i64) -> bool {
        comes_back((a, b, c, d))
    }

    fn lists_and_texts_come_back(a: Vec<Option<u64>>, b: VecDeque<bool>, c: String, d: Vec<u8>) -> bool {
        let text = c.clone().into_boxed_str();
        comes_back((a, b, c)) && comes_back((text, d.into_boxed_slice()))
    }

    fn times_and_addresses_come_back(time: Duration, range: (u32, u32), address: SocketAddr) -> bool {
        comes_back((time, range.0..range.1, address))
    }

    fn bytes_are_canonical(bytes: Vec<u8>) -> TestResult {
        type Value = (Vec<(u64, i64, bool)>, Option<Duration>, (NonZeroU32, [u16; 2]));
        let mut from = Reader::new(&bytes);
        match Value::load(&mut from) {
            Ok(value) => TestResult::from_bool(self::bytes(&value) == bytes[..from.at()]),
            Err(_) => TestResult::discard(),
        }
    }
}

#[test]
fn integers_take_as_many_bytes_as_they_need() {
    let vectors: [(u64, &[u8]); 6] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (u64::MAX >> 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ];
    for (value, expected) in vectors {
        assert_eq!(bytes(&value), expected);
        assert_eq!(load(expected), Ok(value));
    }
    let signed: [(i64, &[u8]); 5] = [(0, &[0]), (-1, &[1]), (1, &[2]), (-64, &[0x7f]), (64, &[0x80, 1])];
    for (value, expected) in signed {
        assert_eq!(bytes(&value), expected);
        assert_eq!(load(expected), Ok(value));
    }
}

#[test]
fn what_was_not_written_so_is_not_read() {
    assert_eq!(load::<u64>(&[0x80, 0]), Err(Damaged::Invalid { at: 1 }), "longer than it need be");
    assert_eq!(load::<u64>(&[0xff; 10]), Err(Damaged::Invalid { at: 9 }), "more than 64 bits");
    assert_eq!(load::<u16>(&[0x80, 0x80, 4]), Err(Damaged::Invalid { at: 2 }), "more than 16 bits");
    assert_eq!(load::<bool>(&[2]), Err(Damaged::Invalid { at: 0 }));
    assert_eq!(load::<NonZeroU32>(&[0]), Err(Damaged::Invalid { at: 0 }));
    assert_eq!(load::<Box<str>>(&[2, 0xc3, 0x28]), Err(Damaged::Invalid { at: 1 }));
    assert_eq!(load::<u8>(&[1, 2]), Err(Damaged::Trailing { at: 1 }));
    assert_eq!(load::<SocketAddr>(&[5]), Err(Damaged::Invalid { at: 0 }));
    // 10⁹ nanoseconds are a second.
    assert_eq!(load::<Duration>(&[0, 0x80, 0x94, 0xeb, 0xdc, 3]), Err(Damaged::Invalid { at: 5 }));
}

#[test]
fn a_list_that_claims_more_than_there_is_allocates_nothing() {
    let mut claim = Writer::new();
    claim.length(usize::MAX);
    claim.raw(&[0; 100]);
    assert_eq!(load::<Vec<u64>>(claim.as_bytes()), Err(Damaged::Truncated { at: claim.len() }));
    assert_eq!(load::<Vec<u8>>(&[3, 1, 2]), Err(Damaged::Truncated { at: 3 }));
}

#[derive(Debug, PartialEq)]
struct Node<T> {
    name: String,
    load: T,
    scratch: Vec<u8>,
}
saved!(impl[T: Save] struct Node<T> { name, load; rebuilt scratch = Vec::new() });

#[derive(Debug, PartialEq)]
struct Pair(u32, Option<bool>);
saved!(struct Pair { 0, 1 });

#[derive(Debug, PartialEq)]
enum State {
    Idle,
    Busy(u32, Pair),
    Done { at: u64 },
}
saved!(enum State { 0 = Idle, 7 = Busy(n, pair), 2 = Done { at } });

#[derive(Debug, PartialEq)]
struct Toy {
    nodes: Vec<Node<State>>,
}
saved!(struct Toy { nodes });

impl Snapshot for Toy {
    const KIND: [u8; 8] = *b"a toy   ";
}

fn toy() -> Toy {
    let node = |load| Node { name: "users.internal".into(), load, scratch: vec![] };
    Toy { nodes: vec![node(State::Idle), node(State::Busy(3, Pair(4, None))), node(State::Done { at: 5 })] }
}

#[test]
fn a_type_is_saved_by_its_line() {
    let node = Node { name: "n".into(), load: State::Busy(300, Pair(1, Some(true))), scratch: vec![9] };
    assert_eq!(bytes(&node), [1, b'n', 7, 0xac, 2, 1, 1, 1]);
    assert_eq!(load(&bytes(&node)), Ok(Node { scratch: vec![], ..node }), "scratch is rebuilt");
    assert_eq!(load::<State>(&[1]), Err(Damaged::Invalid { at: 0 }), "no such variant");
}

#[test]
fn a_snapshot_says_what_it_is_and_whether_it_is_whole() {
    let snapshot = toy().snapshot();
    assert_eq!(Toy::restore(&snapshot), Ok(toy()));
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = snapshot.clone();
        change(&mut changed);
        Toy::restore(&changed).unwrap_err()
    };
    assert_eq!(error(&|bytes| bytes[0] = b'A'), Damaged::Kind);
    assert_eq!(error(&|bytes| bytes[20] ^= 1), Damaged::Checksum);
    assert_eq!(error(&|bytes| bytes.truncate(30)), Damaged::Checksum);
    assert_eq!(error(&|bytes| bytes.truncate(7)), Damaged::Truncated { at: 7 });
    let newer = error(&|bytes| {
        bytes[8] = 2;
        seal(bytes);
    });
    assert_eq!(newer, Damaged::Version { found: 2 });
    assert_eq!(
        format!("{newer}"),
        format!("it is in version 2 of the format; this program reads version {VERSION}")
    );
    let longer = error(&|bytes| {
        bytes.push(0);
        seal(bytes);
    });
    assert_eq!(longer, Damaged::Trailing { at: snapshot.len() - 8 });
}

/// Makes the checksum at the end that of the bytes before it.
fn seal(bytes: &mut [u8]) {
    let (bytes, sum) = bytes.split_last_chunk_mut().unwrap();
    *sum = checksum(bytes).to_le_bytes();
}

#[test]
fn the_checksum_is_the_published_one() {
    // From the test vectors of FNV.
    assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
}

quickcheck! {
    fn no_bytes_panic(place: u16, mask: u8, cut: u16) -> bool {
        let mut snapshot = toy().snapshot();
        let (place, cut) = (usize::from(place) % snapshot.len(), usize::from(cut) % snapshot.len());
        snapshot[place] ^= mask;
        let guarded = Toy::restore(&snapshot) == Ok(toy()) || mask != 0;
        // Under a checksum that is right all the same: an error or another toy, and no panic.
        snapshot.truncate(cut.max(8));
        seal(&mut snapshot);
        let _ = Toy::restore(&snapshot);
        guarded
    }
}
