//! A hub with three services, one of which calls on.

use plimsoll_core::id::RequestId;
use plimsoll_core::ipc::client::{Config, Options};
use plimsoll_core::machine::{Input, Machine};
use plimsoll_core::wire::ipc::Value;

use crate::ipc_net::{Net, Seen, packed};
use crate::{Fault, Player, jumped, strike_everywhere};
use Step::{Answer, Call, Cut, KillHub, Pass, Rise, Round};

const NAMES: [&str; 3] = ["order", "user", "bank"];

#[derive(Clone, Debug)]
enum Step {
    /// From whom, to whom, what, and with which parameters.
    Call(usize, usize, &'static str, &'static str),
    /// Everybody does what there is to do, once: so many bytes move on each connection.
    Round,
    /// A service answers what it has put off.
    Answer(usize),
    Cut(usize),
    KillHub,
    Rise,
    Pass(u64),
}

struct Services {
    net: Net,
    /// Who has made the calls, by tag.
    calls: Vec<Option<(usize, RequestId)>>,
}

impl Services {
    fn new() -> Self {
        let mut net = Net::new();
        for name in NAMES {
            net.join(Config::new(name));
        }
        // A message takes a few rounds, so that faults find it in parts.
        net.piece = 90;
        Services { net, calls: Vec::new() }
    }

    fn call(&mut self, from: usize, to: usize, method: &str, json: &str) {
        let (now, service) = (self.net.now, &mut self.net.services[from]);
        let params = packed(plimsoll_core::wire::ipc::Format::Json, json);
        let params = Value::parse(plimsoll_core::wire::ipc::Format::Json, &params).expect("JSON");
        let options = Options { tag: self.calls.len() as u64, ..Options::default() };
        // After a fault it may be refused: there is no connection.
        let id = service.client.call(now, NAMES[to], method, Some(params), None, options);
        self.calls.push(id.ok().map(|id| (from, id)));
    }

    fn answer(&mut self, service: usize) {
        let (now, service) = (self.net.now, &mut self.net.services[service]);
        for token in service.tokens.drain(..) {
            // Nobody may wait for it any more.
            let _ = service.client.reply(now, token, None);
        }
    }

    /// How often a call has ended.
    fn ends(&self, tag: usize, from: usize) -> usize {
        let seen = self.net.services[from].seen.iter();
        seen.filter(|seen| matches!(seen, Seen::Ended(of, _) if *of == tag as u64)).count()
    }

    fn have_all_ended(&self) -> bool {
        let mut calls = self.calls.iter().enumerate().filter_map(|(tag, call)| Some((tag, (*call)?.0)));
        calls.all(|(tag, from)| self.ends(tag, from) > 0)
    }

    fn jump(&mut self) {
        let deadlines = self.net.services.iter().filter_map(|service| service.client.deadline());
        if let Some(at) = deadlines.chain(self.net.hub.deadline()).min() {
            self.net.now = self.net.now.max(at);
        }
        self.net.hub.handle(self.net.now, Input::Tick);
        for service in &mut self.net.services {
            service.client.handle(self.net.now, Input::Tick);
        }
    }

    fn live_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..200 {
            self.net.run();
            (0..NAMES.len()).for_each(|service| self.answer(service));
            self.net.run();
            if done(self) {
                return;
            }
            self.jump();
        }
        panic!("{what}: not within 200 deadlines: {:?}", self.net.hub.status());
    }
}

impl Player for Services {
    type Step = Step;

    fn play(&mut self, step: &Step) {
        match *step {
            Call(from, to, method, json) => self.call(from, to, method, json),
            Round => _ = self.net.round(),
            Answer(service) => self.answer(service),
            Cut(service) => self.net.cut(service),
            KillHub => self.net.kill_hub(),
            Rise => self.net.up = true,
            Pass(millis) => {
                self.net.now = self.net.now + std::time::Duration::from_millis(millis);
                self.net.tick();
            }
        }
    }

    fn targets(&self) -> Vec<Fault> {
        let calls = (0..self.calls.len())
            .filter(|tag| self.calls[*tag].is_some_and(|(from, _)| self.ends(*tag, from) == 0));
        calls.map(Fault::Cancel).chain((0..NAMES.len()).map(Fault::Disconnect)).collect()
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Cancel(tag) => {
                let (from, id) = self.calls[tag].expect("it was taken");
                assert!(self.net.services[from].client.cancel(self.net.now, id) || self.ends(tag, from) == 0);
            }
            Fault::Disconnect(service) => self.net.cut(service),
            Fault::Timeout => self.jump(),
            Fault::Forwards | Fault::Backwards => self.net.now = jumped(self.net.now, fault),
        }
    }

    fn finish(mut self) {
        self.net.up = true;
        self.net.piece = usize::MAX;
        self.live_until("all calls end", Self::have_all_ended);
        self.live_until("all services are back", |services| {
            services.net.services.iter().all(|service| service.client.is_connected())
                && services.net.hub.status().services == NAMES.len() as u32
        });
        for (tag, call) in self.calls.iter().enumerate() {
            let ends = call.map_or(0, |(from, _)| self.ends(tag, from));
            assert_eq!(ends, usize::from(call.is_some()), "how often call {tag} has ended");
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            assert_eq!(self.net.ask(from, NAMES[to], "echo", "7"), "7", "a call to {}", NAMES[to]);
        }
        self.live_until("nothing is in hand", |services| {
            services.net.services.iter().all(|service| {
                let status = service.client.status();
                (status.pending, status.serving) == (0, 0)
            })
        });
        let status = self.net.hub.status();
        assert_eq!((status.pending, status.unsent, status.connections), (0, 0, 3), "{status:?}");
        for service in 0..NAMES.len() {
            self.net.services[service].client.disconnect(self.net.now);
        }
        self.net.run();
        let status = self.net.hub.status();
        assert_eq!(
            (status.connections, status.services, self.net.hub.deadline()),
            (0, 0, None),
            "{status:?}"
        );
        for service in &self.net.services {
            assert_eq!(service.client.deadline(), None, "{:?}", service.client.deadline_reason());
        }
    }
}

/// Rounds between the commands.
fn with_rounds(commands: &[Step], rounds: usize) -> Vec<Step> {
    commands.iter().flat_map(|step| [step.clone()].into_iter().chain(vec![Round; rounds])).collect()
}

#[test]
fn a_call_through_a_hub_that_calls_on_leaves_nothing_behind() {
    let commands = [
        Call(0, 1, "chain", "\"bank\""),
        Call(2, 0, "later", "1"),
        Call(1, 2, "echo", "2"),
        Answer(0),
        Pass(100),
    ];
    strike_everywhere("ipc, nested", Services::new, &with_rounds(&commands, 5));
}

#[test]
fn calls_while_services_and_the_hub_go_and_come_back_leave_nothing_behind() {
    let commands = [
        Call(0, 1, "later", "1"),
        Cut(1),
        Call(0, 2, "echo", "2"),
        Pass(5_000),
        Call(0, 1, "echo", "3"),
        KillHub,
        Rise,
        Pass(5_000),
        Call(2, 1, "fail", "4"),
    ];
    strike_everywhere("ipc, deaths", Services::new, &with_rounds(&commands, 4));
}
