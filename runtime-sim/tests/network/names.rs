//! What names mean, and wall clocks that are wrong.

use super::*;

fn meaning(sim: &mut Sim, from: &Host, name: &str) -> Result<Vec<String>, io::ErrorKind> {
    let found = sim.block_on(from.resolve(name));
    found.map(|found| found.iter().map(ToString::to_string).collect()).map_err(|error| error.kind())
}

#[test]
fn a_name_means_its_host_until_it_is_said_to_mean_others() {
    let mut sim = Sim::new(1);
    let (web, a, b) = (sim.host("web.internal"), sim.host("a.internal"), sim.host("b.internal"));
    assert_eq!(meaning(&mut sim, &web, "a.internal:80").unwrap(), ["10.0.0.2:80"]);
    sim.faults().resolve_to("users.internal", &[&b, &a]);
    assert_eq!(meaning(&mut sim, &web, "users.internal:80").unwrap(), ["10.0.0.3:80", "10.0.0.2:80"]);
    sim.faults().resolve_to("users.internal", &[]);
    assert_eq!(meaning(&mut sim, &web, "users.internal:80").unwrap(), [""; 0]);
    assert_eq!(meaning(&mut sim, &web, "nobody.internal:80"), Err(io::ErrorKind::NotFound));
    assert_eq!(meaning(&mut sim, &web, "localhost:80").unwrap(), ["10.0.0.1:80"]);
}

#[test]
fn a_wall_clock_jumps_and_time_does_not() {
    let mut sim = Sim::new(1);
    let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
    let mut clock = users.connector();
    let before = clock.unix_ms();
    sim.run_for(ms(1_000));
    assert_eq!(clock.unix_ms() - before, 1_000);
    sim.faults().skew(&users, -3_600_000);
    assert_eq!(clock.unix_ms() + 3_600_000 - before, 1_000);
    assert_eq!(web.connector().unix_ms() - before, 1_000, "that of another host is right");
    assert_eq!(users.now(), Instant::from_millis(1_000));
}
