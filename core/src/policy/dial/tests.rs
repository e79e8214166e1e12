use super::*;
use crate::map::Seed;
use crate::rng::Pcg;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use quickcheck::{Arbitrary, Gen, quickcheck};

const HEAD_START: Duration = Duration::from_millis(250);
const NAME: &str = "users.internal:80";

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// `6a` is an IPv6 address, `4a` an IPv4 address.
fn addresses(list: &str) -> Vec<SocketAddr> {
    list.split_whitespace().map(address).collect()
}

fn address(short: &str) -> SocketAddr {
    let (family, host) = short.split_at(1);
    let host = host.bytes().next().unwrap();
    match family {
        "6" => format!("[2001:db8::{host:x}]:80").parse().unwrap(),
        _ => format!("192.0.2.{host}:80").parse().unwrap(),
    }
}

fn dial(list: &str) -> Dial {
    Dial::new(Config::default(), at(0), &addresses(list))
}

/// All attempts in their order, as if each were silent.
fn order(mut dial: Dial) -> Vec<SocketAddr> {
    let mut order = Vec::new();
    while let Some(due) = dial.deadline() {
        order.push(dial.tick(due).unwrap().address);
    }
    order
}

#[test]
fn families_take_turns_from_the_preferred_one() {
    assert_eq!(order(dial("6a 6b 6c 4a 4b")), addresses("6a 4a 6b 4b 6c"));
    assert_eq!(order(dial("4a 6a 6b")), addresses("4a 6a 6b"));
    assert_eq!(order(dial("4a 4b 4c")), addresses("4a 4b 4c"));
}

#[test]
fn the_other_family_has_its_turn_however_many_addresses_the_first_one_has() {
    let many = "6a 6b 6c 6d 6e 6f 6g 6h 6i 6j 6k 6l 6m 6n 6o 6p 6q 6r 6s 6t 4a";
    let order = order(dial(many));
    assert_eq!((order.len(), order[1]), (MAX_ADDRESSES, address("4a")));
}

#[test]
fn an_address_that_refuses_leads_to_the_next_at_once() {
    let mut dial = dial("4a 4b");
    let first = dial.tick(at(0)).unwrap();
    assert_eq!(dial.tick(at(7)), None);
    dial.failed(at(7), first.number, Fault::Refused);
    assert_eq!(dial.deadline(), Some(at(7)));
    assert_eq!(dial.tick(at(7)).map(|next| next.address), Some(address("4b")));
}

#[test]
fn an_address_that_is_silent_is_joined_by_the_next_after_its_head_start_and_may_still_win() {
    let mut dial = dial("6a 4a");
    let first = dial.tick(at(0)).unwrap();
    assert_eq!(dial.tick(at(249)), None);
    let second = dial.tick(at(250)).unwrap();
    assert_eq!(dial.deadline(), None, "all were started");
    assert!(dial.connected(first.number));
    assert!(dial.running().eq([second]));
    assert!(!dial.connected(second.number), "too late");
    assert_eq!(dial.outcome(), Outcome::Connected(first));
}

#[test]
fn a_failure_of_one_does_not_start_two() {
    let mut dial = dial("4a 4b 4c");
    let first = dial.tick(at(0)).unwrap();
    dial.failed(at(1), first.number, Fault::Refused);
    dial.failed(at(1), first.number, Fault::Refused);
    dial.tick(at(1)).unwrap();
    assert_eq!(dial.tick(at(1)), None);
    assert_eq!(dial.deadline(), Some(at(251)), "with a head start of its own");
}

#[test]
fn when_all_have_failed_the_last_fault_is_told() {
    let mut dial = dial("4a 4b");
    for fault in [Fault::TimedOut, Fault::Refused] {
        assert_eq!(dial.outcome(), Outcome::Racing);
        let attempt = dial.tick(at(1)).unwrap();
        dial.failed(at(1), attempt.number, fault);
    }
    assert_eq!(dial.outcome(), Outcome::Failed(Fault::Refused));
    assert_eq!(self::dial("").outcome(), Outcome::Failed(Fault::Unresolved));
}

#[test]
fn a_head_start_below_ten_milliseconds_counts_as_ten() {
    let config = Config { head_start: Duration::ZERO };
    let mut dial = Dial::new(config, at(0), &addresses("4a 4b"));
    dial.tick(at(0)).unwrap();
    assert_eq!(dial.deadline(), Some(at(10)));
}

/// What happens to a dial; numbers are reduced to what there is.
#[derive(Clone, Debug)]
enum Step {
    Tick { after: u16 },
    TickAtDeadline,
    Connected(u8),
    Failed(u8),
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 16 {
            0..5 => Step::Tick { after: u16::arbitrary(g) % 400 },
            5..10 => Step::TickAtDeadline,
            10..15 => Step::Failed(u8::arbitrary(g) % 20),
            _ => Step::Connected(u8::arbitrary(g) % 20),
        }
    }
}

/// A dial, and what must be true of it.
struct History {
    found: Vec<SocketAddr>,
    dial: Dial,
    now: Instant,
    started: Vec<Attempt>,
    ended: Vec<u8>,
    winner: Option<Attempt>,
}

impl History {
    fn new(found: Vec<SocketAddr>) -> Self {
        let dial = Dial::new(Config::default(), at(0), &found);
        History { found, dial, now: at(0), started: Vec::new(), ended: Vec::new(), winner: None }
    }

    fn step(&mut self, step: Step) -> bool {
        let due = self.dial.deadline();
        match step {
            Step::Tick { after } => self.tick(self.now + Duration::from_millis(after.into()), due),
            Step::TickAtDeadline => self.tick(due.unwrap_or(self.now).max(self.now), due),
            Step::Connected(number) => self.end(number, true),
            Step::Failed(number) => self.end(number, false),
        }
    }

    /// In time, one attempt at an address that was not tried yet, and the deadline moves or clears; early, nothing.
    fn tick(&mut self, now: Instant, due: Option<Instant>) -> bool {
        self.now = now;
        let before = self.shown();
        match self.dial.tick(now) {
            Some(attempt) => {
                let is_new = self.started.iter().all(|old| old.address != attempt.address);
                self.started.push(attempt);
                is_new
                    && self.found.contains(&attempt.address)
                    && due.is_some_and(|due| due <= now)
                    && self.dial.deadline().is_none_or(|next| next == now + HEAD_START)
            }
            None => due.is_none_or(|due| now < due) && self.shown() == before,
        }
    }

    /// One that was never begun, has ended, or comes when another has won, changes nothing.
    fn end(&mut self, number: u8, connected: bool) -> bool {
        let counts = self.winner.is_none()
            && usize::from(number) < self.started.len()
            && !self.ended.contains(&number);
        let before = self.shown();
        if connected && self.dial.connected(number) != counts {
            return false;
        }
        if !connected {
            self.dial.failed(self.now, number, Fault::Refused);
        }
        if !counts {
            return self.shown() == before;
        }
        self.ended.push(number);
        if connected {
            self.winner = Some(self.started[usize::from(number)]);
        }
        self.dial.deadline().is_none_or(|due| !connected && due <= self.now)
    }

    /// One winner or one fault, or something that goes on.
    fn agrees(&self) -> bool {
        let (due, running) = (self.dial.deadline(), self.dial.running().count());
        let is_over = due.is_none() && self.ended.len() == self.started.len();
        self.started.len() <= MAX_ADDRESSES
            && running == self.started.len() - self.ended.len()
            && match self.dial.outcome() {
                Outcome::Connected(winner) => self.winner == Some(winner) && due.is_none(),
                Outcome::Failed(_) => self.winner.is_none() && is_over,
                Outcome::Racing => self.winner.is_none() && (due.is_some() || running > 0),
            }
    }

    fn shown(&self) -> String {
        format!("{:?}", self.dial)
    }
}

/// Up to 40 addresses with repetitions.
fn some(hosts: &[(bool, u8)]) -> Vec<SocketAddr> {
    let name =
        |&(six, host): &(bool, u8)| format!("{}{}", if six { 6 } else { 4 }, char::from(b'A' + host % 20));
    hosts.iter().take(40).map(|host| address(&name(host))).collect()
}

quickcheck! {
    fn the_laws_hold_in_any_history(hosts: Vec<(bool, u8)>, steps: Vec<Step>) -> bool {
        let mut history = History::new(some(&hosts));
        steps.into_iter().all(|step| history.step(step) && history.agrees())
    }

    fn each_address_is_tried_once_and_the_preferred_family_first(hosts: Vec<(bool, u8)>) -> bool {
        let found = some(&hosts);
        let order = order(Dial::new(Config::default(), at(0), &found));
        let mut distinct = found.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let mut tried = order.clone();
        tried.sort_unstable();
        tried.dedup();
        tried.len() == order.len()
            && order.len() == distinct.len().min(MAX_ADDRESSES)
            && order.first() == found.first()
            // A family repeats only if the other has nothing left.
            && order.windows(2).enumerate().all(|(i, pair)| {
                pair[0].is_ipv6() != pair[1].is_ipv6()
                    || distinct.iter().filter(|other| other.is_ipv6() != pair[0].is_ipv6())
                        .all(|other| order[..i].contains(other))
            })
    }

    fn what_is_remembered_changes_the_order_and_nothing_else(hosts: Vec<(bool, u8)>, ends: Vec<u8>) -> bool {
        let found = some(&hosts);
        let mut memory = memory(MemoryConfig::default());
        ends.chunks(4).zip(0u64..).all(|(ends, minute)| {
            let now = at(minute * 20_000);
            let mut dial = memory.begin(now, NAME, &found);
            let tried = order(dial.clone());
            for end in ends {
                let Some(attempt) = dial.deadline().and_then(|due| dial.tick(due)) else { break };
                match end % 3 {
                    0 => drop(dial.connected(attempt.number)),
                    1 => dial.failed(now, attempt.number, Fault::Refused),
                    _ => {}
                }
            }
            memory.settle(now + HEAD_START * 20, NAME, &dial);
            let mut all = order(Dial::new(Config::default(), now, &found));
            let mut tried = tried;
            tried.sort_unstable();
            all.sort_unstable();
            tried == all
        })
    }
}

fn memory(config: MemoryConfig) -> Memory {
    Memory::new(config, Seed::new(&mut Pcg::new(1, 1)))
}

/// One dial in which `bad` refuse and the first of the rest connects.
fn dialled(memory: &mut Memory, now: Instant, list: &str, bad: &str) -> Vec<SocketAddr> {
    let mut dial = memory.begin(now, NAME, &addresses(list));
    let order = order(dial.clone());
    while let Some(attempt) = dial.tick(now) {
        if addresses(bad).contains(&attempt.address) {
            dial.failed(now, attempt.number, Fault::Refused);
        } else {
            dial.connected(attempt.number);
        }
    }
    memory.settle(now, NAME, &dial);
    order
}

#[test]
fn what_worked_last_time_is_tried_first_and_what_failed_last() {
    let mut memory = memory(MemoryConfig::default());
    assert_eq!(dialled(&mut memory, at(0), "6a 4a 6b 4b", "6a"), addresses("6a 4a 6b 4b"));
    assert_eq!(dialled(&mut memory, at(1_000), "6a 4a 6b 4b", ""), addresses("4a 6b 4b 6a"));
}

#[test]
fn a_failure_is_forgotten_after_a_minute_and_a_success_after_ten() {
    let mut memory = memory(MemoryConfig::default());
    dialled(&mut memory, at(0), "6a 4a 6b", "6a");
    assert_eq!(dialled(&mut memory, at(59_999), "6a 4a 6b", ""), addresses("4a 6b 6a"));
    assert_eq!(dialled(&mut memory, at(60_000), "6a 4a 6b", ""), addresses("4a 6a 6b"));
    assert_eq!(dialled(&mut memory, at(599_999), "6a 4a 6b", ""), addresses("4a 6a 6b"));
    let again = "however often it has won in between, the preferred one is tried first again";
    assert_eq!(dialled(&mut memory, at(600_000), "6a 4a 6b", ""), addresses("6a 4a 6b"), "{again}");
}

#[test]
fn what_worked_and_then_fails_goes_last() {
    let mut memory = memory(MemoryConfig::default());
    dialled(&mut memory, at(0), "4a 4b", "");
    dialled(&mut memory, at(1), "4a 4b", "4a");
    assert_eq!(dialled(&mut memory, at(2), "4a 4b", ""), addresses("4b 4a"));
}

#[test]
fn what_worked_and_then_fails_is_not_tried_first_even_if_nothing_else_has_worked() {
    let mut memory = memory(MemoryConfig::default());
    dialled(&mut memory, at(0), "4a 4b", "");
    let mut dial = memory.begin(at(1), NAME, &addresses("4a 4b"));
    let first = dial.tick(at(1)).unwrap();
    dial.failed(at(1), first.number, Fault::Refused);
    memory.settle(at(1), NAME, &dial);
    assert_eq!(order(memory.begin(at(2), NAME, &addresses("4a 4b"))), addresses("4b 4a"));
}

#[test]
fn what_failed_and_then_works_is_tried_first() {
    let mut memory = memory(MemoryConfig::default());
    dialled(&mut memory, at(0), "4a 4b", "4a 4b");
    dialled(&mut memory, at(1), "4a 4b", "");
    assert_eq!(dialled(&mut memory, at(2), "4b 4a", ""), addresses("4a 4b"));
}

#[test]
fn a_dial_that_is_given_up_has_failed_where_nothing_was_heard_for_a_head_start() {
    let mut memory = memory(MemoryConfig::default());
    let mut dial = memory.begin(at(0), NAME, &addresses("4a 4b 4c"));
    dial.tick(at(0)).unwrap();
    dial.tick(at(250)).unwrap();
    memory.settle(at(400), NAME, &dial);
    assert_eq!(order(memory.begin(at(500), NAME, &addresses("4a 4b 4c"))), addresses("4b 4c 4a"));
}

#[test]
fn who_was_merely_slower_than_the_winner_has_not_failed() {
    let mut memory = memory(MemoryConfig::default());
    let mut dial = memory.begin(at(0), NAME, &addresses("4a 4b 4c"));
    dial.tick(at(0)).unwrap();
    let second = dial.tick(at(250)).unwrap();
    dial.connected(second.number);
    memory.settle(at(300), NAME, &dial);
    assert_eq!(order(memory.begin(at(500), NAME, &addresses("4a 4b 4c"))), addresses("4b 4a 4c"));
}

#[test]
fn being_out_of_sockets_says_nothing_about_an_address() {
    let mut memory = memory(MemoryConfig::default());
    let mut dial = memory.begin(at(0), NAME, &addresses("4a 4b"));
    let first = dial.tick(at(0)).unwrap();
    dial.failed(at(0), first.number, Fault::Exhausted);
    memory.settle(at(1_000), NAME, &dial);
    assert_eq!(order(memory.begin(at(1_000), NAME, &addresses("4a 4b"))), addresses("4a 4b"));
}

/// kgateway-dev/kgateway#2576.
#[test]
fn a_resolver_that_stumbles_does_not_empty_the_set_and_a_name_that_is_gone_goes_at_last() {
    let mut memory = memory(MemoryConfig::default());
    assert_eq!(memory.begin(at(0), NAME, &[]).outcome(), Outcome::Failed(Fault::Unresolved));
    dialled(&mut memory, at(0), "6a 4a", "6a");
    assert_eq!(order(memory.begin(at(899_999), NAME, &[])), addresses("6a 4a"));
    assert_eq!(memory.begin(at(900_000), NAME, &[]).outcome(), Outcome::Failed(Fault::Unresolved));
    dialled(&mut memory, at(900_001), "4b", "");
    assert_eq!(order(memory.begin(at(900_002), NAME, &[])), addresses("4b"), "a new answer replaces the old");
}

#[test]
fn the_name_that_was_dialled_longest_ago_makes_room() {
    let mut memory = memory(MemoryConfig { names: 2, ..MemoryConfig::default() });
    memory.begin(at(0), "one", &addresses("4a"));
    memory.begin(at(1), "two", &addresses("4b"));
    memory.begin(at(2), "one", &[]);
    memory.begin(at(3), "three", &addresses("4c"));
    assert_eq!(memory.names(), 2);
    assert_eq!(order(memory.begin(at(4), "one", &[])), addresses("4a"));
    assert_eq!(order(memory.begin(at(4), "two", &[])), []);
    memory.settle(at(5), "two", &dial("4b"));
}
