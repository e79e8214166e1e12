//! What requests and answers hold: the number of the request, who answers, and bytes to make it as long as is wanted. As
//! text within JSON, so that it reads the same in MessagePack.

/// JSON with a number in it, of about so many bytes.
pub(super) fn with(number: u64, size: usize) -> String {
    let mut content = format!(r#"{{"n":"{number}","p":""#);
    content.extend(std::iter::repeat_n('x', size.saturating_sub(content.len() + 2)));
    content.push_str("\"}");
    content
}

/// What somebody answers to the request of that number.
pub(super) fn answer(number: u64, by: &str) -> String {
    format!(r#"{{"n":"{number}@{by}!"}}"#)
}

/// The first number that stands in it.
pub(super) fn number(content: &[u8]) -> Option<u64> {
    let digits = content.iter().skip_while(|byte| !byte.is_ascii_digit());
    let mut digits = digits.take_while(|byte| byte.is_ascii_digit()).peekable();
    digits.peek()?;
    Some(digits.fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))))
}

/// Whether it is the answer of that service.
pub(super) fn is_by(content: &[u8], by: &str) -> bool {
    let name = content.iter().skip_while(|byte| **byte != b'@').skip(1).take_while(|byte| **byte != b'!');
    name.copied().eq(by.bytes())
}
