//! What Bro IPC must do on every adapter; see [`ipc_suite!`](crate::ipc_suite).

pub use crate::ipc_calls::*;
pub use crate::ipc_hostile::*;
pub use crate::ipc_hub::*;
pub use crate::ipc_loss::*;

/// A test of each scenario of Bro IPC on the runtime that `$on` hands to it, as [`suite!`](crate::suite) makes them.
#[macro_export]
macro_rules! ipc_suite {
    ($on:path) => {
        $crate::ipc_suite! { $on:
            a_hub_passes_calls_on_and_says_what_it_does,
            a_hub_that_shuts_down_takes_nobody_in_and_closes_its_connections,
            calls_come_back_in_both_formats_and_across_them,
            raw_calls_carry_bytes_as_they_are,
            nested_calls_at_the_same_time_keep_their_contexts_apart,
            a_deadline_only_shrinks_on_the_way,
            calls_that_call_each_other_in_a_circle_come_to_an_end,
            failures_say_what_is_wrong,
            a_service_can_ask_the_hub,
            methods_can_come_and_go_while_connected,
            two_thousand_calls_at_once_are_all_answered,
            a_batch_is_one_write_and_its_results_are_in_order,
            calls_of_a_batch_beyond_the_limit_are_refused,
            results_are_kept_of_methods_that_were_opted_in,
            clients_say_what_they_do,
            a_dropped_call_is_given_up_at_once,
            connecting_says_why_it_cannot_be,
            a_client_registers_again_when_its_hub_is_back,
            when_the_hub_dies_each_pending_call_has_an_end,
            a_service_that_dies_between_call_and_answer_is_told,
            a_client_that_disconnects_ends_its_calls_and_can_connect_again,
            a_shutdown_sees_calls_to_their_end,
            four_connections_share_the_calls,
            a_call_with_retry_waits_for_the_hub,
            handles_that_are_dropped_end_the_service,
            who_claims_to_be_another_is_not_believed,
            an_answer_is_taken_only_from_who_was_called,
            who_sends_what_cannot_be_read_is_closed,
            who_never_registers_or_never_ends_a_message_is_closed,
            who_does_not_read_is_refused_more_and_then_closed,
            a_flood_of_calls_fills_its_own_share_only,
            the_hub_knows_whose_processes_its_services_are,
        }
    };
    ($on:path: $($name:ident,)*) => {
        $(#[test]
        fn $name() {
            $on(|runtime| $crate::ipc::$name(runtime));
        })*
    };
}
