//! Which version of HTTP a connection speaks: HTTP/2 begins with a line that no other does (RFC 9113, section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection, of which the first bytes have been read; it reads as if they had not.
pub(crate) struct Begun<S> {
    stream: S,
    first: [u8; PREFACE.len()],
    /// Of `first`, those that are still to be read.
    from: usize,
    to: usize,
}

/// Reads until it is clear whether this is HTTP/2.
pub(crate) async fn read<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(bool, Begun<S>)> {
    let (mut first, mut to) = ([0; PREFACE.len()], 0);
    while to < PREFACE.len() && first[..to] == PREFACE[..to] {
        match stream.read(&mut first[to..]).await? {
            0 => break,
            n => to += n,
        }
    }
    Ok((first == *PREFACE, Begun { stream, first, from: 0, to }))
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.from == this.to {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = buf.remaining().min(this.to - this.from);
        buf.put_slice(&this.first[this.from..this.from + n]);
        this.from += n;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
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

    async fn read_in_pieces(bytes: &[u8], piece: usize) -> (bool, Vec<u8>) {
        let (is_http2, mut begun) = read(Pieces { bytes: bytes.into(), at: 0, piece }).await.unwrap();
        let mut all = Vec::new();
        begun.read_to_end(&mut all).await.unwrap();
        (is_http2, all)
    }

    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        piece: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let end = self.bytes.len().min(self.at + self.piece.min(buf.remaining()));
            buf.put_slice(&self.bytes[self.at..end]);
            self.at = end;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_version_and_are_read_again_however_they_are_cut() {
        let http2 = [&PREFACE[..], b"frames"].concat();
        let cases: [(&[u8], bool); 5] = [
            (&http2, true),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"PRI", false),
            (b"", false),
        ];
        for (bytes, expected) in cases {
            for piece in [1, 3, 100] {
                assert_eq!(read_in_pieces(bytes, piece).await, (expected, bytes.to_vec()), "{piece}");
            }
        }
    }
}
