//! What goes wrong in vHive's networks of clones, and the tests that show that
//! it does not here.
//!
//! | there | here |
//! |---|---|
//! | V1: two rules for each VM that let nothing through, and cost each packet | [`costs`] `clones_are_elements_and_no_rules` |
//! | V2: to remove one VM all rules are listed and compared | [`costs`] `clones_are_elements_and_no_rules` |
//! | V3: a network that could not be made is handed out | [`life`] `clone_that_cannot_be_made_is_not_there` |
//! | V4: the 16 384th VM is a crash; numbers are not given again | `namespaced::life::numbers_are_given_again_and_end_…`, and [`life`] `numbers_go_on_where_an_octet_ends` |
//! | V5: the default networks are Docker's | [`life`] `network_of_docker_is_refused_and_the_route_named`, `riklet_defects::addresses::default_networks_are_nobodys` |
//! | V6: two callers with one name lose a network | [`life`] `two_callers_with_one_name_get_one_clone` |
//! | V7: rules are put into the tables of iptables | [`costs`] `tables_of_iptables_stay_as_they_are` |
//! | V8: comments that no other tool can read | [`costs`] `others_read_whose_an_element_is` |
//! | V9: a thread is left in the namespace of a VM | [`life`] `caller_stays_where_it_is` |
//! | V10: what is left over is never taken away | [`life`] `what_a_dead_agent_left_is_removed`, and `crash` |
//! | V11: the next tenant gets the connections of the last | [`life`] `successor_meets_no_flow_of_its_predecessor` |
//! | V12: masquerading by an incoming interface, which kernels before 5.7 pass over in silence | `clones::reach::clones_reach_the_outside_behind_the_host…`: packets decide, on each kernel that is tested; and with no masquerade nothing leaves, for the guest's address is nobody's |
//! | V13: the way out is guessed from a program's words | `riklet_defects::packets` `agent_runs_no_program`, [`life`] `way_out_is_the_kernels_choice` |
//! | V14: each connection is tracked twice | `namespaced::inside::one_connection_is_tracked_on_the_host_and_none_inside` |

mod costs;
mod life;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [costs::trials(), life::trials()]
        .into_iter()
        .flatten()
        .collect()
}
