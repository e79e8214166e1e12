//! Messages, built. What stands in them is checked by whoever reads them.

use alloc::vec::Vec;

use super::{Format, Limits, Text, Value, Writer, write_frame};
use crate::error::Misuse;

/// Messages of our own making are short, and not subject to the limit on what others say.
const NO_LIMIT: Limits = Limits { body: u32::MAX };

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Names the call in its answer.
    pub id: &'a str,
    /// Who calls.
    pub from: &'a str,
    /// Who is called.
    pub to: &'a str,
    /// What is called.
    pub method: &'a str,
    /// What it is called with; converted, if it is in the other format.
    pub params: Option<Value<'a>>,
    /// On whose behalf; in the format of the message.
    pub context: &'a crate::ipc::Context,
}

/// Whom an answer is for: what is taken over from the call.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Of the call.
    pub id: Text<'a>,
    /// Who was called.
    pub from: Text<'a>,
    /// Who has called.
    pub to: Text<'a>,
    /// Of the call; in the format of the message.
    pub context: Option<Value<'a>>,
}

/// A registration.
#[derive(Clone, Copy, Debug)]
pub struct Register<'a, M> {
    /// The name under which others call the service.
    pub service_name: &'a str,
    /// What they can call.
    pub methods: M,
    /// Of the service.
    pub version: &'a str,
    /// Which of several connections of one client this is, and how many there are.
    pub pool: Option<(u32, u32)>,
}

/// Appends a call.
///
/// # Errors
/// A body above the limit, or parameters that cannot be said in this format; `out` is then as it was.
pub fn write_call(out: &mut Vec<u8>, format: Format, limits: &Limits, call: &Call<'_>) -> Result<(), Misuse> {
    write_frame(out, format, limits, |body| {
        body.object(6 + u32::from(call.params.is_some()));
        body.key("type").text("CALL");
        body.key("id").text(call.id);
        body.key("from").text(call.from);
        body.key("to").text(call.to);
        body.key("method").text(call.method);
        if let Some(params) = call.params {
            body.key("params").convert(params, limits.body as usize)?;
        }
        body.key("context");
        call.context.write(body);
        body.end_object();
        Ok(())
    })
}

/// Appends the answer to a call that was done; `data` is converted, if it is in the other format.
///
/// # Errors
/// A body above the limit, or a result that cannot be said in this format; `out` is then as it was.
pub fn write_success(
    out: &mut Vec<u8>,
    format: Format,
    limits: &Limits,
    reply: &Reply<'_>,
    data: Option<Value<'_>>,
) -> Result<(), Misuse> {
    write_result(out, format, limits, reply, |body| {
        match data {
            Some(data) => body.convert(data, limits.body as usize)?,
            None => body.null(),
        }
        Ok(())
    })
}

/// Appends the answer to a call that was done, whose result `data` appends.
///
/// # Errors
/// Those of `data`, and a body above the limit; `out` is then as it was.
pub fn write_result(
    out: &mut Vec<u8>,
    format: Format,
    limits: &Limits,
    reply: &Reply<'_>,
    data: impl FnOnce(&mut Writer<'_>) -> Result<(), Misuse>,
) -> Result<(), Misuse> {
    write_frame(out, format, limits, |body| {
        begin_response(body, reply, "success");
        data(body.key("data"))?;
        end_response(body, reply);
        Ok(())
    })
}

/// Appends the answer to a call that failed: a word for machines, of [`code`](super::code) or the service's own, and a
/// sentence for people.
///
/// # Errors
/// A body above the limit; `out` is then as it was.
pub fn write_failure(
    out: &mut Vec<u8>,
    format: Format,
    limits: &Limits,
    reply: &Reply<'_>,
    code: &str,
    message: &str,
) -> Result<(), Misuse> {
    write_frame(out, format, limits, |body| {
        begin_response(body, reply, "error");
        body.key("error");
        write_reason(body, code, message);
        end_response(body, reply);
        Ok(())
    })
}

/// Appends a registration.
///
/// # Errors
/// A body above the limit; `out` is then as it was.
pub fn write_register<'a>(
    out: &mut Vec<u8>,
    format: Format,
    limits: &Limits,
    register: &Register<'_, impl ExactSizeIterator<Item = &'a str> + Clone>,
) -> Result<(), Misuse> {
    write_frame(out, format, limits, |body| {
        body.object(5);
        body.key("type").text("REGISTER");
        body.key("serviceName").text(register.service_name);
        body.key("methods").array(u32::try_from(register.methods.len()).unwrap_or(u32::MAX));
        register.methods.clone().for_each(|method| body.text(method));
        body.end_array();
        body.key("version").text(register.version);
        body.key("metadata").object(if register.pool.is_some() { 2 } else { 0 });
        if let Some((index, size)) = register.pool {
            body.key("poolIndex").number(u64::from(index));
            body.key("poolSize").number(u64::from(size));
        }
        body.end_object();
        body.end_object();
        Ok(())
    })
}

/// Appends what a registration is answered with.
pub fn write_register_ack(out: &mut Vec<u8>, format: Format) {
    write_own(out, format, |body| {
        body.object(1);
        body.key("type").text("REGISTER_ACK");
        body.end_object();
    });
}

/// Appends a sign of life, at so many milliseconds since 1970.
pub fn write_heartbeat(out: &mut Vec<u8>, format: Format, from: &str, timestamp: u64) {
    write_own(out, format, |body| {
        body.object(3);
        body.key("type").text("HEARTBEAT");
        body.key("from").text(from);
        body.key("timestamp").number(timestamp);
        body.end_object();
    });
}

/// Appends what a hub has to say about a message that is no call, at so many milliseconds since 1970.
pub fn write_error(out: &mut Vec<u8>, format: Format, code: &str, message: &str, timestamp: u64) {
    write_own(out, format, |body| {
        body.object(3);
        body.key("type").text("ERROR");
        body.key("error");
        write_reason(body, code, message);
        body.key("timestamp").number(timestamp);
        body.end_object();
    });
}

/// What is too long for a frame of any limit cannot be said; nothing of ours is.
fn write_own(out: &mut Vec<u8>, format: Format, write: impl FnOnce(&mut Writer<'_>)) {
    let _ = write_frame::<Misuse>(out, format, &NO_LIMIT, |body| {
        write(body);
        Ok(())
    });
}

fn begin_response(body: &mut Writer<'_>, reply: &Reply<'_>, status: &str) {
    body.object(6 + u32::from(reply.context.is_some()));
    body.key("type").text("RESPONSE");
    body.key("id").lent_text(reply.id);
    body.key("from").lent_text(reply.from);
    body.key("to").lent_text(reply.to);
    body.key("status").text(status);
}

fn end_response(body: &mut Writer<'_>, reply: &Reply<'_>) {
    if let Some(context) = reply.context {
        body.key("context").copy(context);
    }
    body.end_object();
}

fn write_reason(body: &mut Writer<'_>, code: &str, message: &str) {
    body.object(2);
    body.key("message").text(message);
    body.key("code").text(code);
    body.end_object();
}
