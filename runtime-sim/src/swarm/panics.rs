//! Panics as violations: a machine that finds itself in disorder says so in no other way.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use plimsoll_core::time::Instant;

use super::law::{Law, Violation};

thread_local! {
    /// What the panic said that is being caught on this thread; `None` where none is.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs it, without a word to stderr whatever happens.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SAID.with_borrow_mut(|said| said.as_mut().map(|said| *said = in_words(info)).is_some()) {
                others(info);
            }
        }));
    });
    SAID.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    let what = SAID.take().unwrap_or_default();
    result.unwrap_or_else(|_| {
        Err(Violation { law: Law::Panic, at: Instant::ZERO, who: "a machine".into(), what })
    })
}

fn in_words(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload_as_str().unwrap_or("a panic without words");
    match info.location() {
        Some(location) => format!("{payload} ({}:{})", location.file(), location.line()),
        None => payload.into(),
    }
}
