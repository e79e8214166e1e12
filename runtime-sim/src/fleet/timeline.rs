//! What is done to the world, and when.

use std::num::NonZeroU64;
use std::time::Duration;

use plimsoll_core::policy::Ratio;
use plimsoll_core::rng::Pcg;
use plimsoll_core::testing::fleet::exponential;
use plimsoll_core::time::Instant;
use toml::Spanned;

use super::crew::{Crew, Node};
use super::report::Mark;
use super::scenario::units::{Length, show};
use super::scenario::{Faults, Problem, Scenario, at};
use crate::Link;

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ailment {
    /// Its work takes so many times as long.
    Slow(Ratio),
    /// It answers INTERNAL_ERROR at once.
    FailFast,
    /// Such a share of its answers is INTERNAL_ERROR.
    FailShare(Ratio),
    /// With each thousand requests its work takes so much longer.
    Leak(Ratio),
    /// Such a share of its health checks finds it unwell.
    Flap(Ratio),
}

/// Something is done.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Ail(Vec<u32>, Ailment),
    Cure(Vec<u32>, Ailment),
    /// Gone at once, without a word.
    Crash(Vec<Node>),
    /// The process is gone at once, and the host says so.
    Kill(Vec<Node>),
    /// Finishes its work within this time.
    Stop(Vec<Node>, Duration),
    /// Begins anew, after any of these.
    Start(Vec<Node>),
    Pause(Vec<Node>, Duration),
    /// Nothing gets from the ones to the others.
    Cut(Vec<Node>, Vec<Node>),
    Join(Vec<Node>, Vec<Node>),
    /// The way between two zones; `None` as it was at first.
    Way([String; 2], Option<Link>),
    /// What clients take in per second from each server; `None`: as much as comes.
    Reading(Vec<u32>, Option<NonZeroU64>),
    /// The names of servers mean others.
    Resolve(Vec<(u32, u32)>),
    Skew(Vec<Node>, i64),
    /// Each turn takes so long.
    Busy(Vec<Node>, Duration),
}

/// All of it, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    pub(super) deeds: Vec<(Instant, Deed)>,
    pub(super) marks: Vec<Mark>,
}

impl Timeline {
    /// What the scenario says.
    pub(super) fn of(scenario: &Scenario) -> Result<Timeline, Problem> {
        let mut timeline = Timeline::default();
        let crew = Crew::of(scenario);
        let faults = &scenario.faults;
        timeline.add_ailments(faults, &crew)?;
        timeline.add_restarts(faults, &crew)?;
        timeline.add_of_network(faults, &crew)?;
        for pause in &faults.pause {
            let nodes = crew.find(&pause.hosts)?;
            let Some(length) = pause.r#for else { return at(&pause.hosts, "a pause has to end: say `for`") };
            timeline.do_at(pause.at, Deed::Pause(nodes, length.0));
            timeline.mark(pause.at, pause.r#for, format!("pause: {}", pause.hosts.get_ref()));
        }
        for busy in &faults.busy {
            let nodes = crew.find(&busy.hosts)?;
            let back = Deed::Busy(nodes.clone(), Duration::ZERO);
            timeline.span(busy.at, busy.r#for, Deed::Busy(nodes, busy.turn.0), back);
            let label = format!("busy, a turn takes {}: {}", show(busy.turn.0), busy.hosts.get_ref());
            timeline.mark(busy.at, busy.r#for, label);
        }
        for skew in &faults.skew {
            let nodes = crew.find(&skew.hosts)?;
            let back = Deed::Skew(nodes.clone(), 0);
            timeline.span(skew.at, skew.r#for, Deed::Skew(nodes, skew.by_ms), back);
            timeline.mark(
                skew.at,
                skew.r#for,
                format!("clock {:+} ms: {}", skew.by_ms, skew.hosts.get_ref()),
            );
        }
        timeline.add_steps(scenario);
        timeline.deeds.sort_by_key(|(at, _)| *at);
        timeline.marks.sort_by_key(|mark| mark.from);
        Ok(timeline)
    }

    /// The same, and when whole groups are slow by chance.
    pub(super) fn with_spells(mut self, scenario: &Scenario, rng: &mut Pcg) -> Timeline {
        let end = Instant::ZERO + scenario.length();
        let mut first = 0;
        for group in &scenario.groups {
            let servers: Vec<u32> = (first..first + group.count.get_ref()).collect();
            first += group.count.get_ref();
            let Some(spells) = group.spells else { continue };
            let mut now = Instant::ZERO;
            loop {
                now = now + exponential(rng, spells.every.0).max(Duration::from_millis(1));
                if now >= end {
                    break;
                }
                let slow = Ailment::Slow(spells.factor.0);
                self.deeds.push((now, Deed::Ail(servers.clone(), slow)));
                now = now + spells.lasts.0;
                self.deeds.push((now, Deed::Cure(servers.clone(), slow)));
            }
        }
        self.deeds.sort_by_key(|(at, _)| *at);
        self
    }

    /// Marks when the load is another than at first.
    fn add_steps(&mut self, scenario: &Scenario) {
        let load = scenario.load();
        let usual = load.rate.as_ref().map(|rate| *rate.get_ref());
        for (n, step) in load.step.iter().enumerate() {
            let (at, rate) = (*step.at.get_ref(), *step.rate.get_ref());
            if Some(rate) != usual && at.0 < scenario.length() {
                let next = load.step.get(n + 1).map(|next| next.at.get_ref().0.saturating_sub(at.0));
                self.mark(at, next.map(Length), format!("load: {rate} calls/s"));
            }
        }
    }

    fn add_ailments(&mut self, faults: &Faults, crew: &Crew) -> Result<(), Problem> {
        for fault in &faults.slow {
            let label = format!("slow ×{}", decimal(fault.factor.0));
            self.ail(crew, fault.at, fault.r#for, &fault.hosts, &[Ailment::Slow(fault.factor.0)], &label)?;
        }
        for fault in &faults.fail_fast {
            self.ail(crew, fault.at, fault.r#for, &fault.hosts, &[Ailment::FailFast], "fails fast")?;
        }
        for fault in &faults.fail_share {
            let label = format!("fails {}", percent(fault.share.0));
            self.ail(
                crew,
                fault.at,
                fault.r#for,
                &fault.hosts,
                &[Ailment::FailShare(fault.share.0)],
                &label,
            )?;
        }
        for fault in &faults.grey {
            let ailments = [Ailment::Slow(fault.factor.0), Ailment::FailShare(fault.share.0)];
            let label = format!("grey: slow ×{}, fails {}", decimal(fault.factor.0), percent(fault.share.0));
            self.ail(crew, fault.at, fault.r#for, &fault.hosts, &ailments, &label)?;
        }
        for fault in &faults.leak {
            let label = format!("leaks {} per 1,000", decimal(fault.per_thousand.0));
            self.ail(
                crew,
                fault.at,
                fault.r#for,
                &fault.hosts,
                &[Ailment::Leak(fault.per_thousand.0)],
                &label,
            )?;
        }
        for fault in &faults.flap {
            let label = format!("{} of health checks fail", percent(fault.share.0));
            self.ail(crew, fault.at, fault.r#for, &fault.hosts, &[Ailment::Flap(fault.share.0)], &label)?;
        }
        Ok(())
    }

    fn ail(
        &mut self,
        crew: &Crew,
        at: Length,
        length: Option<Length>,
        hosts: &Spanned<String>,
        ailments: &[Ailment],
        label: &str,
    ) -> Result<(), Problem> {
        let servers = crew.find_servers(hosts)?;
        for &ailment in ailments {
            self.span(at, length, Deed::Ail(servers.clone(), ailment), Deed::Cure(servers.clone(), ailment));
        }
        self.mark(at, length, format!("{label}: {}", hosts.get_ref()));
        Ok(())
    }

    fn add_restarts(&mut self, faults: &Faults, crew: &Crew) -> Result<(), Problem> {
        for crash in &faults.crash {
            let nodes = crew.find(&crash.hosts)?;
            self.span(crash.at, crash.r#for, Deed::Crash(nodes.clone()), Deed::Start(nodes));
            self.mark(crash.at, crash.r#for, format!("crash: {}", crash.hosts.get_ref()));
        }
        for kill in &faults.kill {
            let nodes = crew.find(&kill.hosts)?;
            self.span(kill.at, kill.r#for, Deed::Kill(nodes.clone()), Deed::Start(nodes));
            self.mark(kill.at, kill.r#for, format!("kill: {}", kill.hosts.get_ref()));
        }
        for restart in &faults.restart {
            self.restart(restart.at, crew.find(&restart.hosts)?, restart.down, false);
            self.mark(restart.at, Some(restart.down), format!("restart: {}", restart.hosts.get_ref()));
        }
        for deploy in &faults.deploy {
            let nodes = crew.find(&deploy.hosts)?;
            let mut begins = deploy.at;
            for batch in nodes.chunks(deploy.batch.get() as usize) {
                self.restart(begins, batch.to_vec(), deploy.down, deploy.kill);
                begins = Length(begins.0 + deploy.every.0);
            }
            let batches = nodes.len().div_ceil(deploy.batch.get() as usize) as u32;
            let length = deploy.every.0 * (batches - 1) + deploy.down.0;
            self.mark(deploy.at, Some(Length(length)), format!("rolling deploy: {}", deploy.hosts.get_ref()));
        }
        Ok(())
    }

    fn restart(&mut self, at: Length, nodes: Vec<Node>, down: Length, kills: bool) {
        if kills {
            return self.span(at, Some(down), Deed::Kill(nodes.clone()), Deed::Start(nodes));
        }
        // What else runs beside a client than calls, as its health checks do, ends with its process.
        let clients: Vec<_> = nodes.iter().filter(|node| matches!(node, Node::Client(_))).copied().collect();
        self.do_at(Length(at.0 + down.0 * 19 / 20), Deed::Kill(clients));
        self.span(at, Some(down), Deed::Stop(nodes.clone(), down.0), Deed::Start(nodes));
    }

    fn add_of_network(&mut self, faults: &Faults, crew: &Crew) -> Result<(), Problem> {
        for fault in &faults.partition {
            let (these, those) = (crew.find(&fault.hosts)?, crew.find(&fault.from)?);
            for (from, to) in [(&these, &those), (&those, &these)] {
                let (cut, join) = (Deed::Cut(from.clone(), to.clone()), Deed::Join(from.clone(), to.clone()));
                self.span(fault.at, fault.r#for, cut, join);
            }
            let label = format!("partition: {} | {}", fault.hosts.get_ref(), fault.from.get_ref());
            self.mark(fault.at, fault.r#for, label);
        }
        for fault in &faults.one_way {
            let (from, to) = (crew.find(&fault.from)?, crew.find(&fault.to)?);
            let cut = Deed::Cut(from.clone(), to.clone());
            self.span(fault.at, fault.r#for, cut, Deed::Join(from, to));
            let label = format!("cut one way: {} → {}", fault.from.get_ref(), fault.to.get_ref());
            self.mark(fault.at, fault.r#for, label);
        }
        for fault in &faults.link {
            let between = fault.way.between.get_ref().clone();
            let changed = Deed::Way(between.clone(), Some(fault.way.link()));
            self.mark(fault.at, fault.r#for, format!("link {} – {} changes", between[0], between[1]));
            self.span(fault.at, fault.r#for, changed, Deed::Way(between, None));
        }
        for fault in &faults.slow_reader {
            let clients = crew.find_clients(&fault.hosts)?;
            let slow = Deed::Reading(clients.clone(), Some(fault.bytes_per_second));
            self.span(fault.at, fault.r#for, slow, Deed::Reading(clients, None));
            let thousandths = u32::try_from(fault.bytes_per_second.get()).unwrap_or(u32::MAX);
            let rate = decimal(Ratio::per_mille(thousandths));
            let label = format!("reads {rate} kB/s: {}", fault.hosts.get_ref());
            self.mark(fault.at, fault.r#for, label);
        }
        for fault in &faults.resolve {
            let (names, to) = (crew.find_servers(&fault.hosts)?, crew.find_servers(&fault.to)?);
            if names.len() != to.len() {
                return at(&fault.to, format!("{} names cannot mean {} hosts", names.len(), to.len()));
            }
            let back = names.iter().map(|&name| (name, name)).collect();
            let names = names.into_iter().zip(to).collect();
            self.span(fault.at, fault.r#for, Deed::Resolve(names), Deed::Resolve(back));
            let label = format!("names move: {} → {}", fault.hosts.get_ref(), fault.to.get_ref());
            self.mark(fault.at, fault.r#for, label);
        }
        Ok(())
    }

    fn do_at(&mut self, at: Length, deed: Deed) {
        self.deeds.push((Instant::ZERO + at.0, deed));
    }

    fn span(&mut self, at: Length, length: Option<Length>, begin: Deed, end: Deed) {
        self.do_at(at, begin);
        if let Some(length) = length {
            self.do_at(Length(at.0 + length.0), end);
        }
    }

    fn mark(&mut self, at: Length, length: Option<Length>, label: String) {
        self.marks.push(Mark { from: at.0, until: length.map(|length| at.0 + length.0), label });
    }
}

fn percent(share: Ratio) -> String {
    format!("{} %", decimal(Ratio::per_mille(share.as_per_mille() * 100)))
}

pub(super) fn decimal(ratio: Ratio) -> String {
    let thousandths = ratio.as_per_mille();
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// When, for people.
pub(super) fn window(from: Duration, until: Option<Duration>) -> String {
    match (from.is_zero(), until) {
        (true, None) => String::new(),
        (_, None) => format!(", from {}", show(from)),
        (_, Some(until)) => format!(", from {} to {}", show(from), show(until)),
    }
}
