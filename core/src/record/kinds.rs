//! What a log consists of: records of a kind each, with numbers, and with bytes behind some.

/// On which side of a machine a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A call of the machine, and what it answered. Whatever the machine has found during the call stands before it.
    Call,
    /// What a machine has found in bytes that are not in the log.
    Finding,
}

/// What stands behind the numbers of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Nothing,
    /// Bytes behind their number.
    Bytes,
    /// In place of two numbers, two bytes and one: by how much an id differs.
    Id,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal: $fields:literal $bytes:ident $side:ident,)*) => {
        /// What a record is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// The kind of this number.
            pub(crate) const fn of(number: u8) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$name),)*
                    _ => None,
                }
            }

            /// How many numbers it has, what stands behind them, and on which side it stands.
            pub(crate) const fn shape(self) -> (usize, Tail, Side) {
                match self {
                    $(Kind::$name => ($fields, kinds!(@ $bytes), Side::$side),)*
                }
            }
        }
    };
    (@ plain) => { Tail::Nothing };
    (@ bytes) => { Tail::Bytes };
    (@ id) => { Tail::Id };
}

/// The most numbers that a record has.
pub(crate) const FIELDS: usize = 9;

kinds! {
    // Of all machines. A connection takes two numbers, its slot and its generation.
    Connected = 1: 2 plain Call,
    /// Connection, length; the bytes, if content is kept.
    Received = 2: 3 bytes Call,
    /// As before, without that the machine was asked where to: the bytes are what its buffer held.
    Filled = 3: 3 plain Call,
    Sent = 4: 3 plain Call,
    ReadClosed = 5: 2 plain Call,
    /// Connection, fault.
    Closed = 6: 3 plain Call,
    Tick = 7: 0 plain Call,
    /// Milliseconds since 1970.
    Wall = 8: 1 plain Call,
    /// Whether it was taken, the connection.
    Accept = 9: 3 bytes Call,
    /// The machine was asked where to read to, and nothing was read: connection, whether there was room.
    Room = 10: 3 plain Call,
    PolledNothing = 11: 0 plain Call,
    PolledConnect = 12: 2 plain Call,
    PolledClose = 13: 2 plain Call,
    PolledReadOn = 14: 2 plain Call,
    PolledReadOff = 15: 2 plain Call,
    PolledFlush = 16: 2 plain Call,
    NoEvent = 17: 0 plain Call,
    /// What it was, the slot of the request or connection that it is about, a length.
    Event = 18: 3 plain Call,
    /// The time until which answers are waited for.
    Shutdown = 19: 1 plain Call,
    ResetMetrics = 20: 0 plain Call,
    /// A word that later records mean by its number.
    Name = 21: 0 bytes Finding,
    /// The whole hash of all that has come out by then: what slips past the byte in each record does not slip past this.
    Check = 22: 1 plain Call,

    // What a client of a service finds in an answer.
    Need = 24: 1 plain Finding,
    /// Slot and generation of the id, length of the content, what stands before and behind it.
    Ours = 25: 5 plain Finding,
    /// The id if there is one, length of the content, what stands before and behind it.
    Answer = 26: 3 bytes Finding,
    Control = 27: 1 plain Finding,
    /// How many bytes; the bytes.
    Skip = 28: 1 bytes Finding,
    /// The error; the bytes that were no frame, as far as they tell.
    Broken = 29: 3 bytes Finding,
    /// Contents that were looked at since the last of these, this one included; whether the service is to blame, and
    /// overloaded; the code.
    Failure = 30: 2 bytes Finding,
    /// Whether there is one, requests, nanoseconds.
    Load = 31: 3 plain Finding,
    /// Bytes, and answers to come.
    Greeting = 32: 2 plain Finding,
    /// Bytes of a question to the peer, plus one; 0 if the wire has none.
    Question = 33: 1 plain Finding,
    /// Bytes of a message that a client of a hub has written, and whether it could.
    Written = 34: 2 plain Finding,
    /// An answer to the request that is next in line on its connection (any is, on a wire without ids): length of the
    /// content, what stands before and behind it.
    Next = 35: 3 plain Finding,

    // What its application does. An endpoint takes two numbers.
    /// Flags, name, length of the content, of what the frame adds to it and the name, low and high half of the tag,
    /// timeout, key, refusal; the content if it is kept, as is the tag only then.
    Request = 40: 9 bytes Call,
    /// The request, whether it was there.
    Cancel = 41: 3 plain Call,
    /// Weight, priority, whether it was taken, its slot; the address.
    AddEndpoint = 42: 4 bytes Call,
    /// Endpoint, weight, whether it was there.
    SetWeight = 43: 4 plain Call,
    RemoveEndpoint = 44: 3 plain Call,
    DrainEndpoint = 45: 3 plain Call,
    ResumeEndpoint = 46: 3 plain Call,
    /// Endpoint, health, whether it was there.
    SetHealth = 47: 4 plain Call,
    Scale = 48: 1 plain Call,
    /// So many requests like the last, at the same time.
    Requests = 49: 1 plain Call,
    /// An answer is told.
    Answered = 50: 0 plain Call,
    /// So many times: an answer is found that is like the last that was [`Next`](Self::Next), and one is told.
    Answers = 51: 1 plain Call,

    // What a server finds.
    /// The length of the content, the method, by how much the high and the low half of the id differ from those of the last
    /// one.
    Asked = 56: 4 plain Finding,
    /// The front of what was decoded, as it came: a ping, a part of a header, or what is no frame.
    Raw = 57: 0 bytes Finding,
    /// A message of Bro IPC, without its bodies.
    Message = 58: 0 bytes Finding,
    /// The length of a message in the other format; why there is none.
    Converted = 59: 1 bytes Finding,

    // What its application does with the request that it was lent, or had put off (token: two numbers).
    /// Length of the content, whether it could be sent; the content if it is kept.
    Reply = 60: 2 bytes Call,
    /// Length of the message as it is sent, whether it could be; the code.
    Fail = 61: 2 bytes Call,
    /// The token.
    Defer = 62: 2 plain Call,
    /// Nobody has answered.
    Unanswered = 63: 0 plain Call,
    /// Token, length, whether it could be sent; the content if it is kept.
    LateReply = 64: 4 bytes Call,
    /// Token, length of the message, whether it could be sent; the code.
    LateFail = 65: 4 bytes Call,

    // What the application of a client of a hub does.
    Connect = 66: 0 plain Call,
    Disconnect = 67: 0 plain Call,
    /// Whether it was added, or could not be; the method.
    RegisterMethod = 68: 1 bytes Call,
    /// Whether it was there; the method.
    UnregisterMethod = 69: 1 bytes Call,
    /// Flags, service and method (with a zero between them), low and high half of the tag, timeout, refusal; the context that
    /// it is made in.
    Call = 70: 6 bytes Call,

    // What a server finds and does if it is like what was before.
    /// A request of the same length and method as the last; by how much its id differs.
    AskedAlike = 71: 0 id Finding,
    /// A request is lent, and nothing is made of it. Whatever else is made of one says by itself that it was lent.
    Lent = 72: 0 plain Call,
    /// A reply like the last, at the same time.
    Replied = 73: 0 plain Call,
    /// A request is found as if by [`AskedAlike`](Self::AskedAlike), then one before it is [`Replied`](Self::Replied) to.
    Served = 74: 0 id Call,
}
