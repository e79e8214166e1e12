//! Bro IPC on smol: services that call each other through a hub.

pub use plimsoll_core::drive::ipc::hub::{
    Cause as HubCause, Config as HubConfig, Events as HubEvents, HubEvent, HubStatus, Passing, Refused,
    Registration, ServiceInfo,
};

use crate::Smol;

/// A hub that runs on smol.
pub type Hub = plimsoll_core::drive::ipc::Hub<Smol>;
