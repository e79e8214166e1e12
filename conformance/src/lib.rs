//! What every runtime adapter must do, written once and run on each.
//!
//! An adapter is a [`Runtime`](plimsoll_core::drive::Runtime) whose drivers run on threads of its own, and a
//! [`Dialer`](plimsoll_core::drive::Dialer), which makes it a [`Timer`](plimsoll_core::drive::Timer) too. Whoever supplies
//! [`Sockets`](plimsoll_core::drive::Sockets) is all of it. To prove a new one, add this crate to its dev-dependencies, and
//! one test file, `tests/conformance.rs`:
//!
//! ```text
//! fn on_mine(scenario: impl FnOnce(Mine)) {
//!     // Make the runtime, enter it if it must be entered, and hand it over.
//!     scenario(Mine::default());
//! }
//!
//! plimsoll_conformance::suite!(on_mine);
//! ```
//!
//! That makes one test of each function in [`scenarios`]; an adapter that passes them all may be trusted with any
//! machine, since everything else is decided above it. [`suite!`] can make them once more over Unix sockets, and over
//! [`Harsh`] sockets, which do as little as the contract lets them. Peers that are not ours are plain blocking sockets, and
//! the scenarios themselves wait by parking their thread, so that nothing here depends on a runtime either; a runtime whose
//! time is not real brings a [`Ground`] of its own for both. What is an
//! adapter's own (its idiomatic handle, its resolver) it tests by itself.
//!
//! # A runtime, whole
//!
//! This one is as simple as one can be, and passes the suite. It has no readiness, and so it is slow: it shows what must be
//! there. `conformance/tests/fourth_runtime.rs`:
//!
#![doc = concat!("```\n", include_str!("../tests/fourth_runtime.rs"), "```")]

mod dialling;
mod ending;
mod ground;
mod guarding;
mod harsh;
pub mod ipc;
mod ipc_calls;
mod ipc_hostile;
mod ipc_hub;
mod ipc_loss;
mod ipc_support;
mod moving;
mod os;
mod plain;
mod pressing;
mod protecting;
mod racing;
mod recording;
pub mod scenarios;
mod support;
mod tls;
mod unix;

pub use ground::{Door, Ground, Wire, on};
pub use harsh::{Harsh, HarshIo};
pub use support::World;

/// A test of each scenario on the runtime that `$on` (a function that takes a scenario) hands to it.
///
/// `suite!(on_mine)` makes all of them, over TCP; `suite!(on_mine, unix)` those for which it makes a difference over Unix
/// sockets; `suite!(on_mine, harsh)` all that [`Harsh`] sockets allow. These may refuse the very last bytes of a connection,
/// so that TLS cannot say why it turns somebody away, nor goodbye.
#[macro_export]
macro_rules! suite {
    (@worlds $on:path, $family:ident: $($name:ident,)*) => {
        $(#[test]
        fn $name() {
            $on(|runtime| $crate::scenarios::$name($crate::World::$family(runtime)));
        })*
    };
    (@runtimes $on:path: $($name:ident,)*) => {
        $(#[test]
        fn $name() {
            $on(|runtime| $crate::scenarios::$name(runtime));
        })*
    };
    ($on:path) => {
        $crate::suite!($on, harsh);
        $crate::suite!(@last_bytes $on);
    };
    ($on:path, harsh) => {
        $crate::suite!($on, tcp);
        $crate::suite!(@tls $on);
        $crate::suite! { @worlds $on, tcp:
            callers_over_tls_on_many_threads_are_all_woken,
        }
        $crate::suite! { @runtimes $on:
            a_name_whose_ipv6_address_refuses_is_reached_by_ipv4,
            a_name_whose_ipv4_address_refuses_is_reached_by_ipv6,
            a_name_whose_first_address_is_silent_is_reached_by_the_second,
            a_name_whose_addresses_all_refuse_is_refused,
            a_unix_socket_is_named_by_its_path_and_removed_at_the_end,
        }
    };
    ($on:path, $family:ident) => {
        $crate::suite! { @worlds $on, $family:
            callers_on_many_threads_are_all_woken,
            a_call_that_is_kept_and_not_polled_keeps_nobody_asleep,
            a_call_may_move_to_another_thread_while_it_waits,
            caller_threads_come_and_go,
            calls_that_are_given_up_at_any_moment_leave_nothing_behind,
            shards_share_the_listener_and_the_calls,
            a_server_killed_under_load_leaves_each_call_with_an_end,
            a_server_that_shuts_down_under_load_answers_all_that_it_took,
            a_client_that_shuts_down_under_load_loses_no_call,
            endpoints_come_and_go_under_load_and_no_call_is_lost,
            a_request_is_answered,
            five_hundred_requests_at_once_are_each_answered_with_their_own,
            three_mebibytes_come_back_unchanged_many_at_a_time,
            requests_may_come_byte_by_byte,
            a_thousand_connections_are_served,
            who_half_closes_is_still_answered,
            a_server_that_half_closes_is_left_for_another,
            a_slow_reader_disturbs_nobody_and_gets_everything,
            a_server_that_reads_nothing_holds_calls_up_and_gets_them_all_when_it_reads,
            megabytes_cross_each_other_on_one_connection,
            a_server_that_comes_late_is_found,
            a_connection_that_is_reset_is_replaced,
            a_call_that_takes_too_long_says_that_it_was_sent,
            a_dropped_call_frees_its_place_at_once,
            errors_of_handlers_are_told,
            a_server_that_shuts_down_answers_what_it_took,
            a_client_that_shuts_down_sees_its_calls_to_their_end,
            a_shutdown_that_takes_too_long_cuts_off_what_is_left_and_counts_it,
            handles_that_are_dropped_close_what_they_held,
            a_server_that_is_dropped_in_the_middle_ends_the_calls_that_it_had,
            a_client_that_is_dropped_in_the_middle_leaves_the_server_well,
            an_endpoint_can_be_drained_resumed_weighed_and_declared_unhealthy,
            a_command_about_an_endpoint_that_nobody_knows_is_refused,
            a_call_that_is_slow_at_one_endpoint_is_answered_by_another,
            more_calls_than_are_allowed_are_refused_with_a_reason,
            a_client_and_a_server_that_are_recorded_do_the_same_in_a_replay,
            what_is_recorded_with_bodies_is_decoded_and_encoded_again,
        }
    };
    (@tls $on:path) => {
        $crate::suite! { @worlds $on, tcp:
            a_request_over_tls_is_answered,
            three_mebibytes_over_tls_come_back_unchanged_many_at_a_time,
            a_certificate_may_be_for_another_name_than_the_address,
            a_certificate_that_is_no_good_is_a_dial_that_fails,
            clients_show_their_certificates_where_they_must,
            a_server_without_tls_is_told_from_one_with_it,
            a_server_that_stops_in_the_handshake_is_a_dial_that_takes_too_long,
            a_client_that_stops_in_the_handshake_is_let_go_and_disturbs_nobody,
            who_half_closes_tls_is_still_answered,
            a_slow_reader_of_tls_disturbs_nobody_and_gets_everything,
            an_end_that_nobody_has_told_is_a_reset,
            a_tls_connection_that_is_lost_is_replaced,
        }
        $crate::suite! { @runtimes $on:
            a_name_is_resolved_and_one_that_is_nobodys_is_told,
            tls_goes_over_a_unix_socket_to_whom_one_names,
            a_guarded_call_that_takes_too_long_is_given_up,
            a_guarded_call_that_is_dropped_gives_its_place_back,
            a_guarded_call_is_made_until_it_has_failed_too_often,
        }
    };
    (@last_bytes $on:path) => {
        $crate::suite! { @worlds $on, tcp:
            a_client_without_tls_is_turned_away_and_disturbs_nobody,
            a_server_that_shuts_down_says_goodbye_over_tls,
        }
    };
}
