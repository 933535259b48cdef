//! Nabla's two scenes: a pod that answers itself, a guest in its place, and
//! the pod again.

use libtest_mimic::Trial;
use tapwire::bridged::{Bridged, Restored, restore};

use super::pod::{PodGuest, Pods, Wiring, eth0, inside, servers};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip"]:
        guest_takes_the_place_of_a_pod_in_a_subnet_and_gives_it_back,
        guest_takes_the_place_of_a_pod_behind_proxy_arp_and_gives_it_back,
    ]
}

fn guest_takes_the_place_of_a_pod_in_a_subnet_and_gives_it_back() {
    play(Wiring::Subnet);
}

fn guest_takes_the_place_of_a_pod_behind_proxy_arp_and_gives_it_back() {
    play(Wiring::ProxyArp);
}

fn play(wiring: Wiring) {
    let pods = Pods::new(wiring);
    let _outside = servers(&pods.outside, "outside");
    let _other = servers(&pods.other, "other");
    let _pod = servers(&pods.pod, "pod");
    pods.pin();
    pods.assert_answers("pod");
    let before = pods.dump();

    let bridged = pods.take_over();
    let mut guest = PodGuest::boot(&pods, &bridged);
    guest.configure(bridged.config());
    pods.assert_answers("guest");
    guest.assert_reaches();
    let found = inside(&pods.pod, || Bridged::find(eth0()).unwrap());
    let found = found.expect("the kernel knows it");
    assert_eq!(
        (found.tap(), found.bridge()),
        (bridged.tap(), bridged.bridge())
    );
    assert_eq!(found.config().to_string(), bridged.config().to_string());

    // The guest is still there, and cut off.
    pods.undo(&bridged);
    pods.assert_answers("pod");
    assert_eq!(pods.dump(), before);
    let again = inside(&pods.pod, || restore(eth0()).unwrap());
    assert_eq!(again, Restored::Nothing);
}
