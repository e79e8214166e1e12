//! What machines were told on this runtime, they do again without it.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::time::Duration;

use plimsoll_core::drive::client::{Client, ServiceConfig};
use plimsoll_core::drive::{Recording, Runtime};
use plimsoll_core::record::Log;
use plimsoll_core::replay;

use crate::support::*;

/// In no body but these.
const SECRET: &str = "the-secret-of-a-body";

fn contains(log: &[u8], what: &str) -> bool {
    log.windows(what.len()).any(|window| window == what.as_bytes())
}

pub fn a_client_and_a_server_that_are_recorded_do_the_same_in_a_replay(world: World<impl Runtime>) {
    let recording = Recording::memory().segment_bytes(5_000.try_into().expect("not zero"));
    let taken = Recording::memory();
    let methods = methods(&world, &Gate::default()).record(&taken);
    let server = within("an address", methods.bind(&world.any_address())).expect("a free address");
    let client = Client::on(world.runtime.clone()).seed(7).record(&recording).build();
    let config = ServiceConfig::new(server.local_addr().to_string()).endpoint(world.free_address());
    let service = client.configure_service("test", config).expect("a good configuration");
    for n in 0..5 {
        // Some like the one before, which is noted in short, and some not.
        let words: Vec<_> = (0..200).map(|call| SECRET.repeat(1 + call % 5 / 3)).collect();
        let calls = words.iter().map(|word| service.request::<String>("echo", word));
        for (answer, word) in within("answers", all(calls)).into_iter().zip(&words) {
            assert_eq!(answer.as_ref(), Ok(word));
        }
        let failure = within("a failure", service.request::<u32>("fail", &format!("CODE_{n}")));
        assert!(failure.is_err());
        let size = within("an answer", service.request::<String>("size", &300_000));
        assert_eq!(size.map(|size| size.len()), Ok(300_000));
    }
    within("the end", client.shutdown(Duration::from_secs(5)));
    within("the end", server.shutdown(Duration::from_secs(5)));
    // At the other end, the same.
    let log = taken.log(0);
    let replayed = replay::replay(&log).unwrap_or_else(|error| panic!("{error}"));
    assert!(replayed.ended && replayed.damage.is_none() && replayed.calls > 1_000, "{replayed}");
    assert!(contains(&log, "echo") && !contains(&log, SECRET), "methods are told, bodies are not");
    let log = recording.log(0);
    let replayed = replay::replay(&log).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((replayed.ended, replayed.damage, recording.status().lost), (true, None, 0));
    assert!(replayed.segments > 1 && replayed.calls > 1_000, "{replayed}");
    assert!(contains(&log, "echo") && contains(&log, "CODE_3"), "names and codes are told");
    assert!(!contains(&log, SECRET) && !contains(&log, "xxxxxxxx"), "bodies are not");
}

pub fn what_is_recorded_with_bodies_is_decoded_and_encoded_again(world: World<impl Runtime>) {
    let recordings = [Recording::memory().content(true), Recording::memory().content(true)];
    let methods = methods(&world, &Gate::default()).record(&recordings[0]);
    let server = within("an address", methods.bind(&world.any_address())).expect("a free address");
    let client = Client::on(world.runtime.clone()).seed(7).record(&recordings[1]).build();
    let config = ServiceConfig::new(server.local_addr().to_string());
    let service = client.configure_service("test", config).expect("a good configuration");
    for answer in within("answers", all((0..100).map(|_| service.request::<String>("echo", SECRET)))) {
        assert_eq!(answer.as_deref(), Ok(SECRET));
    }
    assert!(within("a failure", service.request::<u32>("fail", "A_CODE")).is_err());
    within("the end", client.shutdown(Duration::from_secs(5)));
    within("the end", server.shutdown(Duration::from_secs(5)));
    for recording in recordings {
        let log = recording.log(0);
        assert!(Log::read(&log).is_ok_and(|log| log.is_whole()) && contains(&log, SECRET));
        let replayed = replay::replay(&log).unwrap_or_else(|error| panic!("{error}"));
        assert!(replayed.ended && replayed.damage.is_none() && replayed.calls > 100, "{replayed}");
    }
}
