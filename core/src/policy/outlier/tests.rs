use super::*;
use quickcheck::quickcheck;

struct Bench {
    outliers: Outliers,
    now: Instant,
    hosts: u32,
    /// How many breakers are open, those of the last hosts.
    open: u32,
}

impl Bench {
    fn new(hosts: u32, config: Config) -> Self {
        let mut outliers = Outliers::new(config, Instant::ZERO);
        (0..hosts).for_each(|slot| outliers.add(id(slot)));
        Bench { outliers, now: Instant::ZERO, hosts, open: 0 }
    }

    /// How many are out, beside one, because their breaker is open.
    fn open_beside(&self, one: Option<u32>) -> u32 {
        let open = self.hosts.saturating_sub(self.open)..self.hosts;
        open.filter(|slot| Some(*slot) != one && !self.outliers.is_ejected(id(*slot))).count() as u32
    }

    fn answers(&mut self, slot: u32, successes: u32, failures: u32) {
        // Never five failures in a row, unless there is nothing else.
        for n in 0..successes + failures {
            let all = successes + failures;
            let before = u64::from(n) * u64::from(failures) / u64::from(all);
            if u64::from(n + 1) * u64::from(failures) / u64::from(all) > before {
                let open = self.open_beside(Some(slot));
                self.outliers.failed(self.now, id(slot), open);
            } else {
                self.outliers.succeeded(id(slot));
            }
        }
    }

    fn sweep(&mut self) -> Vec<Change> {
        self.now = self.outliers.deadline();
        let mut changes = Vec::new();
        let first_open = self.hosts.saturating_sub(self.open);
        self.outliers.tick(self.now, |id| id.slot() >= first_open, |change| changes.push(change));
        changes
    }

    fn ejected(&mut self) -> Vec<(u32, Cause)> {
        self.sweep()
            .into_iter()
            .filter_map(|change| match change {
                Change::Ejected(ejection) => Some((ejection.endpoint.slot(), ejection.cause)),
                Change::Returned(_) => None,
            })
            .collect()
    }
}

fn id(slot: u32) -> EndpointId {
    EndpointId::new(slot, 0)
}

fn half() -> Config {
    Config { most: Ratio::percent(50), ..Config::default() }
}

#[test]
fn five_failures_in_a_row_eject_at_once_and_a_success_between_them_does_not() {
    let mut bench = Bench::new(10, Config::default());
    for _ in 0..4 {
        assert_eq!(bench.outliers.failed(bench.now, id(1), 0), None);
    }
    bench.outliers.succeeded(id(1));
    for _ in 0..4 {
        assert_eq!(bench.outliers.failed(bench.now, id(1), 0), None);
    }
    let until = bench.now + Duration::from_secs(30);
    let ejection = Ejection { endpoint: id(1), cause: Cause::Consecutive(5), until };
    assert_eq!(bench.outliers.failed(bench.now, id(1), 0), Some(ejection));
    assert_eq!(bench.outliers.failed(bench.now, id(1), 0), None, "it is out already");
}

#[test]
fn nobody_is_ejected_for_the_sake_of_ejecting_one() {
    // envoyproxy/envoy#3263
    let mut bench = Bench::new(9, Config::default());
    bench.answers(0, 0, 50);
    assert_eq!(bench.ejected(), []);
}

#[test]
fn all_are_never_ejected_whatever_the_cap() {
    // istio/istio#20135
    let mut bench = Bench::new(5, Config { most: Ratio::percent(1_000), ..Config::default() });
    (0..5).for_each(|slot| bench.answers(slot, 0, 60));
    bench.sweep();
    assert_eq!(bench.outliers.ejected(), 4);
}

#[test]
fn endpoints_whose_breaker_is_open_count_against_the_cap() {
    let mut bench = Bench::new(20, Config::default());
    bench.open = 1;
    (0..3).for_each(|slot| bench.answers(slot, 0, 5));
    assert_eq!(bench.outliers.ejected(), 1);
    bench.open = 2;
    bench.answers(7, 0, 60);
    assert_eq!(bench.ejected(), []);
}

#[test]
fn one_that_comes_back_with_an_open_breaker_leaves_its_place_to_nobody() {
    let mut bench = Bench::new(10, Config::default());
    bench.answers(9, 0, 5);
    bench.open = 1;
    (0..2).for_each(|_| assert_eq!(bench.sweep(), []));
    bench.answers(4, 0, 60);
    assert_eq!(bench.sweep(), [Change::Returned(id(9))]);
    // While it is out anyway, its own place is the one it would take.
    bench.answers(9, 0, 60);
    assert!(bench.outliers.is_ejected(id(9)));
}

#[test]
fn far_below_the_mean_is_out_and_a_little_below_is_not() {
    let mut bench = Bench::new(10, Config::default());
    (0..9).for_each(|slot| bench.answers(slot, 98 + slot % 3, 3 - slot % 3));
    bench.answers(9, 80, 21);
    assert_eq!(bench.ejected(), [(9, Cause::SuccessRate(792))]);
    (0..9).for_each(|slot| bench.answers(slot, 98 + slot % 3, 3 - slot % 3));
    assert_eq!(bench.ejected(), []);
}

#[test]
fn too_few_answers_or_hosts_say_nothing() {
    let mut bench = Bench::new(10, Config::default());
    (0..9).for_each(|slot| bench.answers(slot, 100, 0));
    bench.answers(9, 49, 50);
    assert_eq!(bench.ejected(), [], "99 answers");
    let mut bench = Bench::new(10, Config::default());
    (0..3).for_each(|slot| bench.answers(slot, 100, 0));
    bench.answers(9, 50, 50);
    assert_eq!(bench.ejected(), [], "4 hosts");
}

#[test]
fn eighty_five_of_a_hundred_failures_are_out_without_comparison() {
    let patient = Config { consecutive: NonZeroU32::MAX, ..Config::default() };
    let mut bench = Bench::new(10, patient);
    bench.answers(2, 9, 51);
    assert_eq!(bench.ejected(), [(2, Cause::FailureShare(850))]);
    let mut bench = Bench::new(10, patient);
    bench.answers(2, 0, 49);
    bench.answers(3, 10, 50);
    assert_eq!(bench.ejected(), []);
}

#[test]
fn the_worst_go_first() {
    let patient = Config { consecutive: NonZeroU32::MAX, ..Config::default() };
    let mut bench = Bench::new(20, patient);
    for slot in 0..20 {
        bench.answers(slot, slot % 5, 95);
    }
    let slots: Vec<u32> = bench.ejected().into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, [0, 5]);
}

#[test]
fn each_ejection_lasts_longer_up_to_five_minutes_and_serving_takes_it_back() {
    let mut bench = Bench::new(10, Config::default());
    let mut lengths = Vec::new();
    for _ in 0..12 {
        bench.answers(0, 0, 4);
        let ejection = bench.outliers.failed(bench.now, id(0), 0).unwrap();
        lengths.push(ejection.until.since(bench.now).as_secs());
        while bench.outliers.is_ejected(id(0)) {
            bench.sweep();
        }
    }
    assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    (0..12).for_each(|_| _ = bench.sweep());
    bench.answers(0, 0, 4);
    assert_eq!(bench.outliers.failed(bench.now, id(0), 0).unwrap().until.since(bench.now).as_secs(), 30);
}

#[test]
fn what_came_in_while_it_was_out_is_not_held_against_it() {
    let mut bench = Bench::new(10, Config::default());
    bench.answers(0, 0, 500);
    (0..3).for_each(|_| _ = bench.sweep());
    assert!(!bench.outliers.is_ejected(id(0)));
    assert_eq!(bench.ejected(), []);
}

#[test]
fn a_late_result_for_a_recycled_slot_is_ignored() {
    let mut bench = Bench::new(10, Config::default());
    bench.answers(0, 0, 5);
    let next = EndpointId::new(0, 1);
    bench.outliers.add(next);
    assert_eq!((bench.outliers.ejected(), bench.outliers.is_ejected(next)), (0, false));
    bench.answers(0, 0, 50);
    assert!(!bench.outliers.is_ejected(next));
    bench.outliers.remove(id(0));
    assert_eq!(bench.outliers.room(0), 1, "there are still ten");
}

#[test]
fn whoever_leaves_lowers_the_cap() {
    let mut bench = Bench::new(20, Config::default());
    bench.outliers.remove(id(19));
    (0..2).for_each(|slot| bench.answers(slot, 0, 5));
    assert_eq!(bench.outliers.ejected(), 1, "two of nineteen would be too many");
}

#[test]
fn a_sweep_is_worth_while_if_there_are_results_or_somebody_was_out() {
    let mut bench = Bench::new(10, Config::default());
    assert!(!bench.outliers.has_news());
    bench.outliers.succeeded(id(1));
    assert!(bench.outliers.has_news());
    bench.sweep();
    assert!(!bench.outliers.has_news());
    bench.answers(0, 0, 5);
    // Out for three sweeps, and one more without a fault.
    let sweeps = (0..10).take_while(|_| bench.outliers.has_news() && bench.sweep().len() < 10).count();
    assert_eq!(sweeps, 4);

    bench.answers(0, 0, 5);
    bench.outliers.remove(id(9));
    assert!(bench.outliers.has_news(), "one is to come back, though of nine none may go");
    let mut few = Bench::new(9, Config::default());
    few.answers(0, 0, 5);
    assert!(!few.outliers.has_news(), "of nine none may go");
}

#[test]
fn at_the_bound_exactly_it_stays() {
    // Of five of which four are equal, the other lies two deviations below the mean.
    for (thousandths, out) in [(2_000, 0), (1_999, 1)] {
        let deviations = Ratio::per_mille(thousandths);
        let mut bench = Bench::new(5, Config { deviations, consecutive: NonZeroU32::MAX, ..half() });
        (0..4).for_each(|slot| bench.answers(slot, 100, 0));
        bench.answers(4, 50, 50);
        assert_eq!(bench.ejected().len(), out, "{thousandths}");
    }
}

quickcheck! {
    fn the_cap_holds_over_any_history(steps: Vec<(u8, u8, u8)>, hosts: u8, most: u8) -> bool {
        let hosts = u32::from(hosts) % 40;
        let config = Config { most: Ratio::percent(u32::from(most) % 120), ..half() };
        let mut bench = Bench::new(hosts, config);
        steps.into_iter().all(|(slot, failures, open)| {
            bench.open = u32::from(open) % 4;
            let before = bench.outliers.ejected();
            bench.answers(u32::from(slot) % 50, u32::from(failures) % 7, u32::from(failures));
            if slot % 5 == 0 {
                bench.sweep();
            }
            let out = bench.outliers.ejected();
            let listed = (0..hosts).filter(|&slot| bench.outliers.is_ejected(id(slot))).count() as u32;
            let all_out = out + bench.open_beside(None);
            listed == out
                && (out <= before
                    || (all_out * 1_000 <= config.most.as_per_mille() * hosts && all_out < hosts))
        })
    }

    fn the_comparison_agrees_with_floating_point(counts: Vec<(u8, u8)>) -> bool {
        let mut bench = Bench::new(counts.len() as u32, half());
        for (slot, &(successes, failures)) in counts.iter().enumerate() {
            let host = bench.outliers.hosts[slot].as_mut().unwrap();
            (host.successes, host.failures) = (100 + u32::from(successes), u32::from(failures));
        }
        let fleet = bench.outliers.fleet();
        let hosts: Vec<Host> = bench.outliers.hosts.iter().flatten().copied().collect();
        let rate = |host: &Host| f64::from(host.successes) / f64::from(host.volume());
        let n = hosts.len().max(1) as f64;
        let mean = hosts.iter().map(rate).sum::<f64>() / n;
        let variance = hosts.iter().map(|host| (rate(host) - mean).powi(2)).sum::<f64>() / n;
        let bound = mean - 1.9 * variance.sqrt();
        hosts.iter().all(|host| {
            (rate(host) - bound).abs() < 1e-7
                || fleet.is_far_above(host.success(), &half()) == (hosts.len() >= 5 && rate(host) < bound)
        })
    }
}
