//! What goes wrong, when, and to whom.

use std::num::{NonZeroU32, NonZeroU64};

use serde::Deserialize;
use toml::Spanned;

use super::topology::Way;
use super::units::{Factor, Length, Share};

/// All faults, by kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    pub(crate) slow: Vec<Slow>,
    pub(crate) fail_fast: Vec<Plain>,
    pub(crate) fail_share: Vec<FailShare>,
    pub(crate) grey: Vec<Grey>,
    pub(crate) leak: Vec<Leak>,
    pub(crate) flap: Vec<Flap>,
    pub(crate) busy: Vec<Busy>,
    pub(crate) crash: Vec<Plain>,
    pub(crate) kill: Vec<Plain>,
    pub(crate) restart: Vec<Restart>,
    pub(crate) deploy: Vec<Deploy>,
    pub(crate) pause: Vec<Plain>,
    pub(crate) partition: Vec<Partition>,
    pub(crate) one_way: Vec<OneWay>,
    pub(crate) link: Vec<Change>,
    pub(crate) slow_reader: Vec<SlowReader>,
    pub(crate) resolve: Vec<Resolve>,
    pub(crate) skew: Vec<Skew>,
}

/// Who: `users`, `users/3`, `users/1-5`, `zone b`, or several of these with commas between them.
type Hosts = Spanned<String>;

/// Kinds of faults: tables that say from when on, and whatever else they take; without `for` they last to the end.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            pub(crate) at: Length,
            $($(#[$about])* pub(crate) $field: $type,)*
        }
    )*};
}

faults! {
    /// Nothing more is to be said of it.
    Plain { r#for: Option<Length>, hosts: Hosts }

    /// Work takes so many times as long.
    Slow { r#for: Option<Length>, hosts: Hosts, factor: Factor }

    /// Processors have so much else to do that each turn of a driver takes so long.
    Busy { r#for: Option<Length>, hosts: Hosts, turn: Length }

    /// Such a share of the answers is INTERNAL_ERROR, after the usual work.
    FailShare { r#for: Option<Length>, hosts: Hosts, share: Share }

    /// Slow, wrong now and then, and well if asked.
    Grey { r#for: Option<Length>, hosts: Hosts, factor: Factor, share: Share }

    /// With every thousand requests, work takes so much longer, in usual times, until the host is started anew.
    Leak { r#for: Option<Length>, hosts: Hosts, per_thousand: Factor }

    /// Such a share of the health checks is answered that it is not well, though it is.
    Flap { r#for: Option<Length>, hosts: Hosts, share: Share }

    /// Stops as it should, answering what it has taken, and starts anew, remembering nothing.
    Restart {
        hosts: Hosts,
        /// From the stop to the start.
        down: Length,
    }

    /// Restarts one after the other.
    Deploy {
        hosts: Hosts,
        /// So many at a time.
        batch: NonZeroU32,
        /// From one batch to the next.
        every: Length,
        down: Length,
        /// Whether they are killed instead of stopped.
        #[serde(default)]
        kill: bool,
    }

    /// Nothing passes between the one and the other.
    Partition { r#for: Option<Length>, hosts: Hosts, from: Hosts }

    /// Nothing that the one says reaches the other.
    OneWay { r#for: Option<Length>, from: Hosts, to: Hosts }

    /// The way between two zones is like that.
    Change { r#for: Option<Length>, way: Way }

    /// Clients that take in only so much from each server.
    SlowReader { r#for: Option<Length>, hosts: Hosts, bytes_per_second: NonZeroU64 }

    /// The names of servers mean other hosts.
    Resolve { r#for: Option<Length>, hosts: Hosts, to: Hosts }

    /// Wall clocks are wrong.
    Skew { r#for: Option<Length>, hosts: Hosts, by_ms: i64 }
}
