//! What goes wrong in the iptables code of Riklet, and the tests that show
//! that it does not here.
//!
//! | there | here |
//! |---|---|
//! | R1: each stopped VM loses its /30, so the 65th start fails | [`addresses`] `…_of_a_detached_guest_are_free_again` |
//! | R2: guests get addresses of people's gateways | `default_networks_are_nobodys`, `network_that_is_routed_…` |
//! | R3: an agent that was killed cannot start again; a second one deletes the first one's chain | [`remains`] `handle_opens_after_…`, `owners_leave_each_other_alone`, and `crash` |
//! | R4: a start that fails keeps its rules and addresses | `crash::up_that_the_kernel_refuses_…`, `host::link_of_another_kind_…` |
//! | R5: a VM whose rules someone flushed can never be stopped | `guest_is_detached_whatever_someone_took_away` |
//! | R6: the first VM that cannot be stopped leaves all others up | `crash::down_of_all_goes_on_…` |
//! | R7: an exposed port on 127.0.0.1 is hijacked and dead | `exposure::local_process_…_loopback_stays_its_own` |
//! | R8: what others append before or after decides | [`packets`] `exposure_answers_beside_others_tables` (a foreign *drop* stays one: no accept overrides it) |
//! | R9: traffic of the host and of others gets another source | `traffic_of_others_is_not_masqueraded` |
//! | R10: a port that is taken is taken again, in silence | `bad_input::things_that_are_absent_or_taken_are_named`, `riklet::up_with_a_port_of_another_function_…` |
//! | R11: a guest does not reach its own exposure | `exposure::guest_reaches_itself_through_the_host` |
//! | R12: one TCP port over IPv4; nothing isolates, guards or forgets | `guest_has_many_exposures_at_once`, `successor_of_an_address_meets_no_flow_of_its_predecessor`, and `exposure` |
//! | R13: 13 programs are run for each VM | `agent_runs_no_program` |
//! | R14: odd names panic; a second VM of a name replaces the first | `odd_names_are_refused…`, `guest_of_the_same_name_is_the_same_guest` |

mod addresses;
mod packets;
mod remains;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [addresses::trials(), packets::trials(), remains::trials()]
        .into_iter()
        .flatten()
        .collect()
}
