//! How a hub and its services differ from the defaults.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::ipc::{client, hub};
use plimsoll_core::wire::ipc::Format;

/// Something about a hub or its services that is not as it is by default. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is an option of a hub's or client's configuration, of that name")]
pub enum Feature {
    Pool(u32),
    /// Every so-manieth service speaks MessagePack.
    MessagePack(u32),
    Timeout(u32),
    ClientTimeout(u32),
    Pending(u32),
    ClientPending(u32),
    Serving(u32),
    Heartbeat(u32),
    Reconnect {
        base: u32,
        cap: u32,
    },
    RegisterTimeout(u32),
    /// In so many of a thousand steps a service gives one of its calls up.
    Fickle(u32),
}

/// All of them together.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) hub: hub::Config,
    /// Of a service whose name and format are still to be said.
    pub(super) client: client::Config,
    pub(super) packs: u32,
    pub(super) fickle: u32,
}

fn ms(n: u32) -> Duration {
    Duration::from_millis(n.into())
}

fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

impl Options {
    pub(super) fn new(features: impl Iterator<Item = Feature>) -> Self {
        let mut client = client::Config::new("");
        client.path = "hub:4000".into();
        let mut options = Options { hub: hub::Config::default(), client, packs: 0, fickle: 0 };
        features.for_each(|feature| options.apply(feature));
        options
    }

    fn apply(&mut self, feature: Feature) {
        let (hub, client) = (&mut self.hub, &mut self.client);
        match feature {
            Feature::Pool(n) => client.pool_size = some(n),
            Feature::MessagePack(n) => self.packs = n,
            Feature::Timeout(n) => hub.timeout = ms(n),
            Feature::ClientTimeout(n) => client.timeout = ms(n),
            Feature::Pending(n) => hub.pending = some(n),
            Feature::ClientPending(n) => client.pending = some(n),
            Feature::Serving(n) => client.serving = some(n),
            Feature::Heartbeat(n) => (hub.heartbeat_interval, client.heartbeat_interval) = (ms(n), ms(n)),
            Feature::Reconnect { base, cap } => {
                (client.reconnect.base, client.reconnect.cap) = (ms(base), ms(cap))
            }
            Feature::RegisterTimeout(n) => (hub.register_timeout, client.register_timeout) = (ms(n), ms(n)),
            Feature::Fickle(n) => self.fickle = n,
        }
    }

    /// The configuration of the service at that place.
    pub(super) fn client(&self, place: u32) -> client::Config {
        let packs = self.packs > 0 && place.is_multiple_of(self.packs);
        let format = if packs { Format::MessagePack } else { Format::Json };
        client::Config { service_name: format!("s{place}"), format, ..self.client.clone() }
    }

    /// The longest time after the end of all faults until calls must succeed again: until the hub has given up who is gone,
    /// and everybody has dialled, registered, been refused and done so once more.
    pub(super) fn recovery(&self) -> Duration {
        let client::Config { reconnect, connect_timeout, register_timeout, .. } = &self.client;
        let again = reconnect.cap + *connect_timeout + *register_timeout;
        4 * self.hub.heartbeat_interval + 3 * again + self.hub.register_timeout + Duration::from_secs(10)
    }
}
