//! A message whose fields were found.

use core::fmt;

use super::value::{Checked, Cursor, Text, Value};
use super::{Format, MessageError};
use crate::error::Malformed;
use crate::wire::MAX_DEPTH;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One service calls a method of another.
    Call,
    /// What came of a call.
    Response,
    /// A service tells its name and methods.
    Register,
    /// The hub has taken the registration.
    RegisterAck,
    /// The service is alive.
    Heartbeat,
    /// The hub says what is wrong.
    Error,
}

/// Whether a method did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It did.
    Success,
    /// It did not.
    Error,
}

/// The fields that are known; all others are passed by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Type,
    Id,
    From,
    To,
    Method,
    Params,
    Context,
    Status,
    Data,
    Error,
    ServiceName,
    Methods,
    Version,
    Metadata,
    Timestamp,
}

const NAMES: [&str; 15] = [
    "type",
    "id",
    "from",
    "to",
    "method",
    "params",
    "context",
    "status",
    "data",
    "error",
    "serviceName",
    "methods",
    "version",
    "metadata",
    "timestamp",
];

/// What is said of a context, beside the names of fields.
const OF_CONTEXT: [&str; 5] =
    ["context.root", "context.chain", "context.depth", "context.deadline", "of a context"];

/// The name that a [`MessageError`] holds, as whoever made it wrote it.
pub(super) fn known_name(name: &[u8]) -> Option<&'static str> {
    NAMES.iter().chain(&OF_CONTEXT).copied().find(|known| known.as_bytes() == name)
}

impl Field {
    #[inline]
    fn of(name: Text<'_>) -> Option<Field> {
        let name = name.get();
        Some(match &*name {
            "type" => Field::Type,
            "id" => Field::Id,
            "from" => Field::From,
            "to" => Field::To,
            "method" => Field::Method,
            "params" => Field::Params,
            "context" => Field::Context,
            "status" => Field::Status,
            "data" => Field::Data,
            "error" => Field::Error,
            "serviceName" => Field::ServiceName,
            "methods" => Field::Methods,
            "version" => Field::Version,
            "metadata" => Field::Metadata,
            "timestamp" => Field::Timestamp,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// A message, lent: it knows where its fields stand.
#[derive(Clone, Copy)]
pub struct Envelope<'a> {
    kind: Kind,
    whole: Value<'a>,
    fields: [Span; NAMES.len()],
}

/// Where a field stands, in bytes from the start of the body; nowhere if it is empty. Half as large as a range.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl<'a> Envelope<'a> {
    /// Finds the fields of a message; all of `body` is checked, to the last byte.
    ///
    /// # Errors
    /// [`MessageError`]; a field is asked for only when somebody wants it.
    pub fn parse(format: Format, body: &'a [u8]) -> Result<Self, MessageError> {
        if body.first().and_then(|&first| Format::of(first)) != Some(format) {
            return Err(MessageError::NotAMap);
        }
        let checked = match format {
            Format::Json => Checked::Json(core::str::from_utf8(body).map_err(|_| Malformed::NotUtf8)?),
            Format::MessagePack => Checked::MessagePack(body),
        };
        if u32::try_from(body.len()).is_err() {
            return Err(MessageError::TooLong);
        }
        let mut fields = [Span::default(); NAMES.len()];
        let mut twice = None;
        let mut cursor = Cursor::of_object(checked)?;
        while let Some(key) = cursor.next_key()? {
            let span = cursor.span(MAX_DEPTH - 1)?;
            let Some(field) = Field::of(key) else { continue };
            let place = &mut fields[field as usize];
            if place.end > 0 {
                twice = Some(field);
            }
            *place = Span { start: span.start as u32, end: span.end as u32 };
        }
        cursor.finish()?;
        if let Some(field) = twice {
            return Err(MessageError::Twice(field.name()));
        }
        let envelope = Envelope { kind: Kind::Error, whole: Value(checked), fields };
        Ok(Envelope { kind: envelope.read_kind()?, ..envelope })
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// All of it.
    pub fn whole(&self) -> Value<'a> {
        self.whole
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.whole.format()
    }

    /// Of a call, and of what answers it.
    ///
    /// # Errors
    /// Missing, or no text; so everywhere below.
    #[inline]
    pub fn id(&self) -> Result<Text<'a>, MessageError> {
        self.text(Field::Id)
    }

    /// The service that sends it.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    #[inline]
    pub fn from(&self) -> Result<Text<'a>, MessageError> {
        self.text(Field::From)
    }

    /// The service that it is for.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    #[inline]
    pub fn to(&self) -> Result<Text<'a>, MessageError> {
        self.text(Field::To)
    }

    /// What is called.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    #[inline]
    pub fn method(&self) -> Result<Text<'a>, MessageError> {
        self.text(Field::Method)
    }

    /// What it is called with; `None` if with nothing.
    pub fn params(&self) -> Option<Value<'a>> {
        self.field(Field::Params)
    }

    /// The result; `None` if there is none.
    pub fn data(&self) -> Option<Value<'a>> {
        self.field(Field::Data)
    }

    /// The whole context, if there is one.
    pub fn raw_context(&self) -> Option<Value<'a>> {
        self.field(Field::Context)
    }

    /// The context.
    ///
    /// # Errors
    /// Missing, or not what a context should be.
    #[inline]
    pub fn context(&self) -> Result<Context<'a>, MessageError> {
        let missing = MessageError::Missing(Field::Context.name());
        Context::read(self.raw_context().ok_or(missing)?)
    }

    /// What came of a call.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    pub fn status(&self) -> Result<Status, MessageError> {
        let status = self.text(Field::Status)?;
        match () {
            () if status.is("success") => Ok(Status::Success),
            () if status.is("error") => Ok(Status::Error),
            () => Err(MessageError::BadField(Field::Status.name())),
        }
    }

    /// Why it failed: its `code`, and its `message`, as far as there are any.
    pub fn error(&self) -> (Option<Text<'a>>, Option<Text<'a>>) {
        let error = self.field(Field::Error);
        let part = |key| error.and_then(|error| error.member(key)).and_then(Value::text);
        (part("code"), part("message"))
    }

    /// The name of who registers.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    pub fn service_name(&self) -> Result<Text<'a>, MessageError> {
        self.text(Field::ServiceName)
    }

    /// The names of the methods; none if there is no such field.
    ///
    /// # Errors
    /// Something else than an array of text.
    pub fn methods(&self) -> Result<impl Iterator<Item = Text<'a>> + use<'a>, MessageError> {
        let bad = MessageError::BadField(Field::Methods.name());
        let elements = match self.field(Field::Methods).filter(|value| !value.is_null()) {
            Some(value) => Some(value.elements().ok_or(bad)?),
            None => None,
        };
        if elements.iter().flat_map(Clone::clone).any(|value| value.text().is_none()) {
            return Err(bad);
        }
        Ok(elements.into_iter().flatten().filter_map(Value::text))
    }

    /// The version of the service, if it tells.
    pub fn version(&self) -> Option<Text<'a>> {
        self.field(Field::Version).and_then(Value::text)
    }

    /// What else a service tells about itself.
    pub fn metadata(&self) -> Option<Value<'a>> {
        self.field(Field::Metadata).filter(|value| !value.is_null())
    }

    /// In milliseconds since 1970.
    pub fn timestamp(&self) -> Option<u64> {
        self.field(Field::Timestamp).and_then(Value::number)
    }

    fn read_kind(&self) -> Result<Kind, MessageError> {
        let kind = self.text(Field::Type)?.get();
        Ok(match &*kind {
            "CALL" => Kind::Call,
            "RESPONSE" => Kind::Response,
            "REGISTER" => Kind::Register,
            "REGISTER_ACK" => Kind::RegisterAck,
            "HEARTBEAT" => Kind::Heartbeat,
            "ERROR" => Kind::Error,
            _ => return Err(MessageError::UnknownType),
        })
    }

    #[inline]
    fn field(&self, field: Field) -> Option<Value<'a>> {
        let Span { start, end } = self.fields[field as usize];
        if end == 0 { None } else { self.whole.part(start as usize..end as usize) }
    }

    #[inline]
    fn text(&self, field: Field) -> Result<Text<'a>, MessageError> {
        let value = self.field(field).ok_or(MessageError::Missing(field.name()))?;
        value.text().ok_or(MessageError::BadField(field.name()))
    }
}

/// One line for logs: parameters and results are cut after 100 characters.
impl fmt::Display for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        let part = |span: &Span| self.whole.part(span.start as usize..span.end as usize);
        let known = NAMES.iter().zip(&self.fields).filter(|(_, span)| span.end > 0);
        for (at, (name, value)) in known.filter_map(|(name, span)| Some((name, part(span)?))).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {value}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// On whose behalf a call is made, through which services, and until when; lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// Names everything that one cause has set off.
    pub root: Text<'a>,
    /// The services it has come through, as an array of text.
    pub chain: Value<'a>,
    /// How many calls there are within each other, from 1.
    pub depth: u64,
    /// In milliseconds since 1970.
    pub deadline: u64,
    /// All of it, with what else it holds.
    pub whole: Value<'a>,
}

impl<'a> Context<'a> {
    /// Reads a context.
    ///
    /// # Errors
    /// Which of its fields is missing, stands twice, or does not hold what it should. An empty `root` is none.
    #[inline]
    pub fn read(whole: Value<'a>) -> Result<Self, MessageError> {
        const NAMES: [&str; 4] = ["root", "chain", "depth", "deadline"];
        const BAD: [MessageError; 4] = [
            MessageError::BadField("context.root"),
            MessageError::BadField("context.chain"),
            MessageError::BadField("context.depth"),
            MessageError::BadField("context.deadline"),
        ];
        let members = whole.members().ok_or(MessageError::BadField("context"))?;
        let mut fields = [None; 4];
        for (key, value) in members {
            let key = key.get();
            if let Some(at) = NAMES.iter().position(|name| *name == key)
                && fields[at].replace(value).is_some()
            {
                return Err(MessageError::Twice("of a context"));
            }
        }
        let [root, chain, depth, deadline] = fields;
        Ok(Context {
            root: root.and_then(Value::text).filter(|root| !root.is("")).ok_or(BAD[0])?,
            chain: chain.filter(|chain| chain.elements().is_some()).ok_or(BAD[1])?,
            depth: depth.and_then(Value::number).filter(|&depth| depth >= 1).ok_or(BAD[2])?,
            deadline: deadline.and_then(Value::number).ok_or(BAD[3])?,
            whole,
        })
    }
}
