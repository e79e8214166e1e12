//! Bring your own wire: what the service client needs to know of one.

use alloc::vec::Vec;
use core::fmt::Debug;
use core::ops::Range;

use super::client::Client;
use crate::error::{Misuse, ProtocolError};
use crate::wire::{Load, WireId};

/// What a decoder found at the start of the bytes it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Not yet whole: the decoder is asked again when so many bytes are there, and not before. They are counted from
    /// the start of what was shown, and are always more than that; what a header has announced belongs to them, so that
    /// there is room for it.
    Need(usize),
    /// An answer. It takes up the first `len` bytes.
    Response {
        /// Which request it answers; `None` on a wire whose answers come in order.
        id: Option<WireId>,
        /// Where its content lies.
        content: Range<usize>,
        /// Its length with everything around the content.
        len: usize,
    },
    /// Something of the wire's own (a pong, an update) that asks for nothing. It takes up so many bytes.
    Control(usize),
    /// So many bytes are garbage, and the wire is to go on behind them. They are counted.
    Skip(usize),
}

/// What a wire reads in the content of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The service did what was asked.
    Success,
    /// The service says that it failed.
    Failure {
        /// A word for machines.
        code: &'a str,
        /// A sentence for people, as the wire carries it (UW: JSON text, escapes not resolved).
        message: &'a str,
        /// Whether the service is to blame, so that its breaker and health count a failure. An answer such as "no
        /// such method" comes from a healthy service.
        unhealthy: bool,
        /// Whether it had too much to do to take this on, or to answer in time: less is sent then, where that is
        /// [configured](crate::service::client::Config).
        overloaded: bool,
    },
}

/// What a [recording](crate::record) keeps of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Described<'a> {
    /// Its name, such as a method; kept as it is.
    pub name: &'a str,
    /// The length of its content, in bytes.
    pub len: usize,
    /// Its content, which is kept only if that was asked for.
    pub content: &'a [u8],
}

/// A wire that carries requests and answers. Implementations are plain data: same calls, same bytes.
///
/// # A wire of your own
///
/// A service for capitals: a line goes out, a line comes back, `ok …` or `no …`, in the order of the requests. This is all
/// that a client has to know of it:
///
/// ```
/// use plimsoll_core::error::{Misuse, ProtocolError};
/// use plimsoll_core::service::{Decoded, Protocol, Verdict};
/// use plimsoll_core::wire::WireId;
///
/// /// The longest answer, in bytes.
/// const LONGEST: u64 = 1_000;
///
/// struct Capitals;
///
/// impl Protocol for Capitals {
///     /// What a caller asks for: a country.
///     type Request<'a> = &'a str;
///     /// How many bytes of an answer were looked at and do not end it.
///     type Progress = usize;
///     /// Lines are matched by their order.
///     const HAS_IDS: bool = false;
///
///     fn encode(&self, out: &mut Vec<u8>, _: WireId, country: &&str) -> Result<(), Misuse> {
///         if country.contains('\n') {
///             return Err(Misuse::Unencodable("no country has more than a line"));
///         }
///         out.extend_from_slice(country.as_bytes());
///         out.push(b'\n');
///         Ok(())
///     }
///
///     /// Whether the server lives: any question will do.
///     fn ping(&self, out: &mut Vec<u8>, _: WireId, _: u64) -> bool {
///         out.extend_from_slice(b"Atlantis\n");
///         true
///     }
///
///     fn decode(&self, seen: &mut usize, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
///         match bytes[*seen..].iter().position(|&byte| byte == b'\n') {
///             Some(at) => {
///                 let end = *seen + at;
///                 Ok(Decoded::Response { id: None, content: 0..end, len: end + 1 })
///             }
///             None if bytes.len() as u64 > LONGEST => {
///                 Err(ProtocolError::TooLarge { len: bytes.len() as u64, limit: LONGEST })
///             }
///             None => {
///                 *seen = bytes.len();
///                 Ok(Decoded::Need(bytes.len() + 1))
///             }
///         }
///     }
///
///     fn verdict<'a>(&self, content: &'a [u8]) -> Verdict<'a> {
///         let line = str::from_utf8(content).unwrap_or("no text");
///         match line.strip_prefix("no ") {
///             None => Verdict::Success,
///             // It knows no such country, but it is well. If it were tired, a breaker should hear of it.
///             Some(why) => {
///                 let tired = why == "strength left";
///                 Verdict::Failure { code: "NO", message: why, unhealthy: tired, overloaded: tired }
///             }
///         }
///     }
/// }
///
/// // Pools, deadlines, retries, breakers and all else come with the client, which any runtime drives. Here is what one
/// // would do, between the client and a server in memory.
/// use plimsoll_core::machine::{Action, Input, Machine};
/// use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
/// use plimsoll_core::time::Instant;
///
/// fn server(request: &str) -> &'static str {
///     match request {
///         "France" => "ok Paris\n",
///         "Japan" => "ok Tokyo\n",
///         _ => "no such country\n",
///     }
/// }
///
/// let now = Instant::ZERO;
/// let mut client = Client::new(Capitals, Config::default(), 42);
/// client.add_endpoint(now, "capitals.internal:3001")?;
/// let Some(Action::Connect(conn)) = client.poll() else { panic!("it dials first") };
/// client.handle(now, Input::Connected(conn));
///
/// let japan = client.request(now, &"Japan", Options::default())?;
/// let gondor = client.request(now, &"Gondor", Options::default())?;
/// assert_eq!(client.poll(), Some(Action::Flush(conn)));
/// let mut bufs = [&[][..]; 4];
/// let n = client.send_bufs(conn, &mut bufs);
/// let sent = String::from_utf8(bufs[..n].concat())?;
/// assert_eq!(sent, "Japan\nGondor\n");
/// client.handle(now, Input::Sent(conn, sent.len()));
///
/// // Answers come in whatever pieces the network makes of them.
/// let answers: String = sent.lines().map(server).collect();
/// for piece in answers.as_bytes().chunks(5) {
///     client.feed(now, conn, piece);
/// }
/// let mut ends = Vec::new();
/// while let Some(event) = client.event() {
///     match event {
///         Event::Outcome { id, outcome: Outcome::Answer(line), .. } => ends.push((id, line.to_vec())),
///         Event::Outcome { id, outcome: Outcome::Remote { message, .. }, .. } => ends.push((id, message.into())),
///         _ => {}
///     }
/// }
/// assert_eq!(ends, [(japan, b"ok Tokyo".to_vec()), (gondor, b"such country".to_vec())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A wire that is also `drive::client::Callable` has handles on every runtime. RESP, in `examples/resp`, is a whole one.
pub trait Protocol {
    /// What is encoded; may borrow from the caller.
    type Request<'a>;

    /// Whether answers carry the id of their request. Otherwise they come in the order of the requests, and a
    /// request that was given up keeps its place until its answer has passed.
    const HAS_IDS: bool;

    /// What a decoder remembers of an item that has come in part, so that it never looks at the same bytes twice: how far
    /// it has come. `()` for a wire whose headers say all lengths. Every item begins with the default.
    type Progress: Clone + Debug + Default;

    /// Appends what opens a new connection (authentication, a hello), and says how many answers the peer will give to it,
    /// which come first and without an id. The connection stands, and gets requests, when all of them have come and none
    /// is a [`Failure`](Verdict::Failure); until then the time of its dial runs. Nothing by default.
    fn greet(&self, out: &mut Vec<u8>) -> u32 {
        let _ = out;
        0
    }

    /// Appends one request.
    ///
    /// # Errors
    /// [`Misuse`] if the wire cannot carry it; what was appended before is then taken back.
    fn encode(&self, out: &mut Vec<u8>, id: WireId, request: &Self::Request<'_>) -> Result<(), Misuse>;

    /// What a [recording](crate::record) keeps of a request: nothing but the length of its frame, by default.
    fn describe<'a>(&self, request: &'a Self::Request<'_>) -> Described<'a> {
        let _ = request;
        Described::default()
    }

    /// Gives an encoded request, as [`encode`](Self::encode) appended it, another id: a retry draws a new one.
    /// Needless on a wire without ids.
    fn set_id(&self, frame: &mut [u8], id: WireId) {
        let _ = (frame, id);
    }

    /// Appends a question that any living peer answers, at `unix_ms` on the wall clock. `false`: the wire has none, and
    /// silence is never taken for death.
    fn ping(&self, out: &mut Vec<u8>, id: WireId, unix_ms: u64) -> bool;

    /// Appends a question how busy the peer is, for balancing by [`Prequal`](crate::policy::balance::Prequal). `false`, the
    /// default: the wire has none, and `prequal` chooses as `p2c_ewma`.
    fn probe(&self, out: &mut Vec<u8>, id: WireId) -> bool {
        let _ = (out, id);
        false
    }

    /// What a peer answered to a [`probe`](Self::probe); `None` if it did not tell.
    fn load(&self, content: &[u8]) -> Option<Load> {
        let _ = content;
        None
    }

    /// Looks at the bytes that wait, which begin where the last item ended. After a [`Need`](Decoded::Need), `progress` is
    /// what it has been left as.
    ///
    /// # Errors
    /// [`ProtocolError`]: nothing sensible can follow, and the connection is closed.
    fn decode(&self, progress: &mut Self::Progress, bytes: &[u8]) -> Result<Decoded, ProtocolError>;

    /// Reads the content of an answer, no deeper than to tell success from failure.
    fn verdict<'a>(&self, content: &'a [u8]) -> Verdict<'a>;

    /// A client of this wire as bytes, if [replays](crate::replay::replay) know the wire and decode it again.
    #[doc(hidden)]
    fn save_client(client: &Client<Self>) -> Option<Vec<u8>>
    where
        Self: Sized,
    {
        let _ = client;
        None
    }
}
