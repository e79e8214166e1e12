//! What can go wrong.

use std::time::Duration;

use crate::host::Host;
use crate::network::Link;
use crate::world::World;

/// What can go wrong in a world, now; a task that [sleeps](plimsoll_core::drive::Timer::sleep) lets it happen later.
#[derive(Clone, Debug)]
pub struct Faults {
    world: World,
}

impl Faults {
    pub(crate) fn new(world: World) -> Self {
        Faults { world }
    }

    /// What every way is like that has no [link](Self::link) of its own.
    pub fn usual_link(&self, link: Link) {
        self.world.lock().network.set_usual(link);
    }

    /// What the way between two hosts is like, to and fro, for what is sent from now on. Windows are those of the time of
    /// the dial.
    pub fn link(&self, a: &Host, b: &Host, link: Link) {
        let mut state = self.world.lock();
        state.network.set_link(a.id, b.id, link);
        state.network.set_link(b.id, a.id, link);
    }

    /// Nothing that `from` says reaches `to` any more, what is on its way already neither, until they are
    /// [joined](Self::join) again. Connections stand. A stall is this for a short time. A way may be cut for several
    /// reasons at the same time: it is free when each of them is over.
    pub fn cut(&self, from: &Host, to: &Host) {
        self.world.lock().network.cut(from.id, to.id);
    }

    /// One [cut](Self::cut) of that way is over. With the last, what was said meanwhile arrives.
    pub fn join(&self, from: &Host, to: &Host) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.join(from.id, to.id, &mut scene);
    }

    /// [Cuts](Self::cut) both ways.
    pub fn partition(&self, a: &Host, b: &Host) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// [Joins](Self::join) both ways: one partition is over.
    pub fn heal(&self, a: &Host, b: &Host) {
        self.join(a, b);
        self.join(b, a);
    }

    /// Resets all connections between two hosts.
    pub fn reset(&self, a: &Host, b: &Host) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.reset_between(a.id, b.id, &mut scene);
    }

    /// The connections between two hosts are forgotten by something on the way, as by a firewall that has seen nothing of them
    /// for long: whatever is sent on them is lost, and nobody is told. Those that are opened from now on are fine.
    pub fn forget(&self, a: &Host, b: &Host) {
        self.world.lock().network.forget_between(a.id, b.id);
    }

    /// The host is gone at once, with all that runs there, and says nothing to anybody: whoever is connected to it hears
    /// silence.
    pub fn crash(&self, host: &Host) {
        self.world.lock().network.crash(host.id);
    }

    /// All that runs on the host is gone at once; its kernel stays, closes its connections, and refuses those that come.
    pub fn kill(&self, host: &Host) {
        self.world.lock().network.kill(host.id);
    }

    /// A crashed host comes back, with nothing running; whoever still speaks to what was there is told by a reset.
    pub fn restart(&self, host: &Host) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.restart(host.id, &mut scene);
    }

    /// Nothing runs on the host for so long, as in a long collection of garbage; its kernel goes on.
    pub fn pause(&self, host: &Host, length: Duration) {
        self.world.pause(host.id, length);
    }

    /// From now on each turn of whatever runs on the host takes so long, and nothing else runs there meanwhile, as on one that
    /// others overload or whose disk fails; nothing: as fast as ever.
    pub fn slow(&self, host: &Host, turn: Duration) {
        self.world.lock().network.slow(host.id, turn);
    }

    /// Whether the host refuses to be connected to. The connections that it has stand.
    pub fn refuse(&self, host: &Host, refuses: bool) {
        self.world.lock().network.set_refuses(host.id, refuses);
    }

    /// By how many milliseconds the wall clock of the host is wrong from now on.
    pub fn skew(&self, host: &Host, ms: i64) {
        self.world.lock().network.set_skew(host.id, ms);
    }

    /// From now on `name` means these hosts, in this order; nobody, if there is none.
    pub fn resolve_to(&self, name: &str, hosts: &[&Host]) {
        let hosts: Vec<u32> = hosts.iter().map(|host| host.id).collect();
        self.world.lock().network.rename(name, &hosts);
    }
}
