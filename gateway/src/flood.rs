//! A budget for HTTP/2 frames that cost work and carry nothing: PING, SETTINGS, PRIORITY, and types nobody knows.
//! The `h2` crate answers such frames one by one for as long as its peer reads the answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::activity::Activity;
use crate::preface::PREFACE;

/// Frames that may come at once, and how many more each second: far above what measuring a round trip, changing
/// settings or reordering priorities needs, far below what occupies a core.
const BURST: u32 = 10_000;
const PER_SECOND: u32 = 1_000;

const FRAME_HEADER: usize = 9;

/// Follows the frames in the bytes of one connection, however they are cut.
#[derive(Debug)]
pub(crate) struct FrameMeter {
    place: Place,
    tokens: u32,
    filled_at: Instant,
}

#[derive(Debug)]
enum Place {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// So many bytes of a frame's header have come.
    Header(usize, [u8; FRAME_HEADER]),
    /// So many bytes of a frame's payload are still to come.
    Payload(usize),
    /// This is no HTTP/2.
    Other,
}

impl FrameMeter {
    pub(crate) fn new(now: Instant) -> FrameMeter {
        FrameMeter { place: Place::Preface(0), tokens: BURST, filled_at: now }
    }

    /// Looks at the bytes that came next. Whether the peer is still within its budget.
    pub(crate) fn received(&mut self, now: Instant, mut bytes: &[u8]) -> bool {
        let mut within = true;
        while let Some(&first) = bytes.first() {
            let taken = match &mut self.place {
                Place::Other => break,
                Place::Preface(have) => {
                    let matches = PREFACE[*have] == first;
                    *have += 1;
                    if !matches {
                        self.place = Place::Other;
                    } else if *have == PREFACE.len() {
                        self.place = Place::Header(0, [0; FRAME_HEADER]);
                    }
                    1
                }
                Place::Payload(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.place = Place::Header(0, [0; FRAME_HEADER]);
                    }
                    taken
                }
                Place::Header(have, header) => {
                    let taken = bytes.len().min(FRAME_HEADER - *have);
                    header[*have..*have + taken].copy_from_slice(&bytes[..taken]);
                    *have += taken;
                    if *have == FRAME_HEADER {
                        let [a, b, c, kind, ..] = *header;
                        let len = u32::from_be_bytes([0, a, b, c]) as usize;
                        self.place =
                            if len == 0 { Place::Header(0, [0; FRAME_HEADER]) } else { Place::Payload(len) };
                        within &= !carries_nothing(kind) || self.spend(now);
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
        within
    }

    fn spend(&mut self, now: Instant) -> bool {
        let earned =
            now.saturating_duration_since(self.filled_at).as_millis() * u128::from(PER_SECOND) / 1_000;
        if let Some(earned) = u32::try_from(earned).ok().filter(|&earned| earned < BURST) {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled_at += Duration::from_millis(u64::from(earned) * 1_000 / u64::from(PER_SECOND));
        } else {
            self.tokens = BURST;
            self.filled_at = now;
        }
        self.tokens = match self.tokens.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

/// RFC 9113, section 6: DATA 0, HEADERS 1, RST_STREAM 3, PUSH_PROMISE 5, GOAWAY 7, WINDOW_UPDATE 8 and
/// CONTINUATION 9 belong to requests and are limited with them.
fn carries_nothing(kind: u8) -> bool {
    !matches!(kind, 0 | 1 | 3 | 5 | 7 | 8 | 9)
}

/// A connection whose frames are metered as they are read. Beyond the budget, reading fails with
/// [`io::ErrorKind::QuotaExceeded`].
pub(crate) struct Metered<'a, S> {
    activity: &'a Activity,
    stream: S,
    meter: FrameMeter,
}

impl<'a, S> Metered<'a, S> {
    pub(crate) fn new(stream: S, activity: &'a Activity) -> Metered<'a, S> {
        Metered { activity, stream, meter: FrameMeter::new(Instant::now()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        let received = &buf.filled()[before..];
        if received.is_empty() || this.meter.received(this.activity.read(), received) {
            return result;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many frames that carry nothing")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn frame(kind: u8, len: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, len, kind, 0, 0, 0, 0, 0];
        // A payload full of what would be PING headers, were the meter to lose its place.
        bytes.extend((0..len).map(|_| 6));
        bytes
    }

    fn meter(now: Instant) -> FrameMeter {
        let mut meter = FrameMeter::new(now);
        assert!(meter.received(now, PREFACE));
        meter
    }

    /// How many PING frames are taken before the budget is spent.
    fn pings(meter: &mut FrameMeter, now: Instant) -> u32 {
        (0..).take_while(|_| meter.received(now, &frame(6, 8))).count() as u32
    }

    quickcheck! {
        fn only_frames_that_carry_nothing_are_counted_however_the_bytes_are_cut(frames: Vec<(u8, u8)>, cut: usize) -> bool {
            let now = Instant::now();
            let mut meter = meter(now);
            let bytes: Vec<u8> = frames.iter().flat_map(|&(kind, len)| frame(kind, len)).collect();
            let within = bytes.chunks(cut % 40 + 1).all(|piece| meter.received(now, piece));
            let counted = frames.iter().filter(|&&(kind, _)| [2, 4, 6].contains(&kind) || kind > 9).count();
            within && meter.tokens == BURST - counted as u32
        }
    }

    #[test]
    fn the_budget_is_a_burst_and_comes_back_by_the_second() {
        let start = Instant::now();
        let mut meter = meter(start);
        assert_eq!(pings(&mut meter, start), BURST);
        assert_eq!(pings(&mut meter, start + Duration::from_micros(999)), 0);
        assert_eq!(pings(&mut meter, start + Duration::from_secs(1)), PER_SECOND);
        assert_eq!(pings(&mut meter, start + Duration::from_secs(3_600)), BURST);
    }

    #[test]
    fn what_arrives_slowly_is_never_cut() {
        let start = Instant::now();
        let mut meter = meter(start);
        for n in 0..100_000 {
            assert!(meter.received(start + Duration::from_micros(1_000 * n), &frame(4, 0)), "frame {n}");
        }
    }

    #[test]
    fn http_1_is_not_metered() {
        let now = Instant::now();
        let mut meter = FrameMeter::new(now);
        assert!(meter.received(now, b"PRI * HTTP/1.1\r\n\r\n"));
        assert!((0..2 * BURST).all(|_| meter.received(now, &frame(6, 0))));
    }
}
