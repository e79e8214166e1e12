//! The laws, for the machines of Bro IPC, and what their peers say.

use plimsoll_core::wire::ipc::{Format, Limits, Step, Value, convert, decode_frame};

/// A message, written as JSON, in a format.
pub(crate) fn frame(format: Format, json: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let value = Value::parse(Format::Json, json.as_bytes()).unwrap();
    convert(value, format, &mut body, usize::MAX).unwrap();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Adds what no machine should take, as the number wants it, or keeps the end back, which is what it gives.
pub(crate) fn spoil(bytes: &mut Vec<u8>, format: Format, number: u16) -> Vec<u8> {
    match number / 8 % 64 {
        0 => bytes.extend(b"\xff\xff\xff\xffgarbage"),
        1 => bytes.extend(b"\0\0\0\x04nope"),
        2 => bytes.extend(frame(format, &format!("{{\"type\":\"{}\"}}", "x".repeat(300_000)))),
        3..=20 if !bytes.is_empty() => {
            return bytes.split_off(bytes.len() - 1 - usize::from(number) % bytes.len());
        }
        _ => {}
    }
    Vec::new()
}

/// Takes the next message out of what was heard.
pub(crate) fn next_message(heard: &mut Vec<u8>) -> Option<Vec<u8>> {
    let Ok(Step::Frame(body)) = decode_frame(heard, &Limits { body: u32::MAX }) else { return None };
    let message = heard[body.clone()].to_vec();
    heard.drain(..body.end);
    Some(message)
}

/// Segments that end as soon as their records have half as many bytes as their snapshot; none is dropped.
pub(crate) fn small_segments() -> plimsoll_core::record::Options {
    let limit = |n| std::num::NonZeroU32::new(n).unwrap();
    plimsoll_core::record::Options { segment: limit(1), segments: limit(u32::MAX), content: false }
}

/// A test of each law: of a machine at its defaults, or of a small one, whose limits are reached. `$prepared` makes the first
/// operations such that much happens.
#[macro_export]
macro_rules! laws {
    ($small:ty, $large:ty, $prepared:path) => {
        quickcheck::quickcheck! {
            fn cutting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
                laws::cutting::<$large>(seed, &$prepared(ops), &cuts)
            }

            fn early_and_repeated_ticks_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::early_and_repeated_ticks::<$small>(seed, &$prepared(ops))
            }

            fn a_tick_at_the_deadline_makes_progress(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::tick_at_deadline_makes_progress::<$small>(seed, &$prepared(ops))
            }

            fn an_undrained_action_is_due(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::undrained_action_is_due::<$small>(seed, &$prepared(ops))
            }

            fn a_clock_that_goes_back_changes_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::clock_going_back::<$small>(seed, &$prepared(ops))
            }

            fn the_same_seed_gives_the_same_trace(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::same_seed_same_trace::<$small>(seed, &$prepared(ops))
            }

            fn late_completions_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::recycled_slots_ignore_late_completions::<$small>(seed, &$prepared(ops))
            }

            fn what_is_saved_and_loaded_behaves_as_before(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                match seed % 2 {
                    0 => laws::saved_and_loaded::<$small>(seed, &$prepared(ops)),
                    _ => laws::saved_and_loaded::<$large>(seed, &$prepared(ops)),
                }
            }

            fn what_is_recorded_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                let options = plimsoll_core::record::Options::default();
                laws::recorded_and_replayed::<$large>(seed, &$prepared(ops), options)
            }

            fn what_is_recorded_in_many_segments_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::recorded_and_replayed::<$small>(seed, &$prepared(ops), $crate::ipc_laws::small_segments())
            }

            fn what_is_recorded_with_content_is_decoded_again(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                let options = plimsoll_core::record::Options { content: true, ..$crate::ipc_laws::small_segments() };
                laws::recorded_and_replayed::<$small>(seed, &$prepared(ops.clone()), options)?;
                laws::recorded_and_replayed::<$large>(seed, &$prepared(ops), options)
            }
        }
    };
}
