//! Bro IPC on mio: services that call each other through a hub, without async.

mod hub;

pub use hub::{Hub, HubBuilder, HubEvents};
pub use plimsoll_core::drive::ipc::hub::{
    Cause as HubCause, Config as HubConfig, HubEvent, HubStatus, Passing, Refused, Registration, ServiceInfo,
};
