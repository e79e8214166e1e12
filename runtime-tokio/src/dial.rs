//! From a name to a connection.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// How long an address is tried alone before the next one joins in (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;

/// Connects to whichever address of `target` answers first.
pub(crate) async fn dial(target: String) -> io::Result<TcpStream> {
    let found = lookup_host(&target).await;
    let addresses = alternating(found.map_err(|error| io::Error::new(ErrorKind::NotFound, error))?.collect());
    connect(addresses.into_iter().take(ADDRESSES)).await
}

async fn connect(mut addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
    loop {
        let started = addresses.next().map(|address| attempts.spawn(TcpStream::connect(address)));
        let ended = match started {
            Some(_) => match tokio::time::timeout(HEAD_START, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
            None => attempts.join_next().await,
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(panicked)) => failure = io::Error::other(panicked),
            None => return Err(failure),
        }
    }
}

/// One of each family in turn, beginning with the one that the resolver prefers.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let (preferred, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut other = other.into_iter();
    let mut mixed: Vec<SocketAddr> =
        preferred.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn families_alternate_from_the_preferred_one() {
        let parse =
            |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let resolved = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let mixed = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(alternating(resolved), mixed);
        let resolved = parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(alternating(resolved.clone()), resolved);
    }

    #[tokio::test]
    async fn an_address_that_refuses_leads_to_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let good = listener.local_addr().unwrap();
        let stream = connect([refusing, good].into_iter()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = connect([refusing, refusing].into_iter()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_not_found() {
        let error = dial("nobody.invalid:1".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
