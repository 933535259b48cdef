//! Nabla's two scenes without a bridge: a pod that answers itself, a guest in
//! its place, and the pod again.

use libtest_mimic::Trial;
use tapwire::redirected::{PodInterface, RedirectPlan, Redirected, Restored, restore};
use tapwire::route::Rtnl;

use super::dump;
use crate::bridged::pod::{PodGuest, Pods, Wiring, eth0, inside, servers};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "tc"]:
        guest_takes_the_place_of_a_pod_in_a_subnet_and_gives_it_back,
        guest_takes_the_place_of_a_pod_behind_proxy_arp_and_gives_it_back,
        guest_has_the_mac_and_mtu_of_the_pod_and_the_tap_no_ip,
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
    pods.dump();
    let before = inside(&pods.pod, dump);

    let redirected = take_over(&pods);
    let mut guest = PodGuest::on(&pods.pod, redirected.tap(), redirected.config());
    guest.configure(redirected.config());
    pods.assert_answers("guest");
    guest.assert_reaches();
    let found = inside(&pods.pod, || Redirected::find(eth0()).unwrap());
    let found = found.expect("the kernel knows it");
    assert_eq!(found.tap(), redirected.tap());
    assert_eq!(found.config().to_string(), redirected.config().to_string());

    // The guest is still there, and cut off.
    inside(&pods.pod, || redirected.undo().unwrap());
    pods.assert_answers("pod");
    pods.dump();
    assert_eq!(inside(&pods.pod, dump), before);
    let again = inside(&pods.pod, || restore(eth0()).unwrap());
    assert_eq!(again, Restored::Nothing);
}

fn guest_has_the_mac_and_mtu_of_the_pod_and_the_tap_no_ip() {
    let pods = Pods::new(Wiring::Subnet);
    let redirected = take_over(&pods);
    let (pod, config) = (redirected.pod(), redirected.config());
    assert_eq!((config.mac(), config.mtu()), (pod.mac(), pod.mtu()));
    inside(&pods.pod, || {
        let mut rtnl = Rtnl::open().unwrap();
        let tap = rtnl.link(redirected.tap()).unwrap().unwrap();
        assert_eq!(tap.mtu(), pod.mtu());
        assert_ne!(tap.mac(), Some(pod.mac()));
        assert_eq!(rtnl.addresses(Some(tap.index())).unwrap(), []);
    });
}

fn take_over(pods: &Pods) -> Redirected {
    inside(&pods.pod, || {
        let pod = PodInterface::read(eth0()).unwrap();
        RedirectPlan::new(pod).take_over().unwrap()
    })
}
