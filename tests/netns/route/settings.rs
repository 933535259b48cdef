//! Settings of interfaces, and what they do to packets.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::route::{
    Address, Ipv4Setting, Ipv6Setting, LinkChange, NewLink, Route, Rtnl, ipv6_setting,
    set_ipv6_setting,
};
use tapwire::sys::NetNs;

use super::{addr, index, name, net, pair};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        ipv4_settings_are_set_together_and_read_back,
        ipv6_settings_are_those_of_this_namespace,
        one_interface_forwards_while_the_host_does_not,
        setting_that_the_kernel_lacks_is_named,
    ];
    trials.extend(trials![needs ["Linux 6.17"]:
        one_interface_forwards_ipv6_while_the_host_does_not,
    ]);
    trials
}

fn ipv4_settings_are_set_together_and_read_back() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, right) = pair(rtnl);
    let wanted = [
        (Ipv4Setting::Forwarding, 1),
        (Ipv4Setting::RpFilter, 2),
        (Ipv4Setting::ProxyArp, 1),
        (Ipv4Setting::ArpIgnore, 8),
        (Ipv4Setting::RouteLocalnet, 1),
    ];
    rtnl.apply(|changes| changes.set_ipv4(left, &wanted))
        .unwrap();
    let link = rtnl.link_at(left).unwrap().unwrap();
    for (setting, value) in wanted {
        assert_eq!(link.ipv4_setting(setting), Some(value), "{setting:?}");
    }
    let other = rtnl.link_at(right).unwrap().unwrap();
    assert_eq!(other.ipv4_setting(Ipv4Setting::Forwarding), Some(0));
    for (key, value) in [("forwarding", "1"), ("rp_filter", "2"), ("proxy_arp", "1")] {
        let path = format!("/proc/sys/net/ipv4/conf/left/{key}");
        assert_eq!(fs::read_to_string(path).unwrap().trim(), value, "{key}");
    }
    let global = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(global.trim(), "0");
}

fn ipv6_settings_are_those_of_this_namespace() {
    let rtnl = &mut Rtnl::open().unwrap();
    pair(rtnl);
    let left = name("left");
    for (setting, value) in [
        (Ipv6Setting::Forwarding, 1),
        (Ipv6Setting::AcceptRa, 2),
        (Ipv6Setting::AcceptDad, 0),
        (Ipv6Setting::AddrGenMode, 1),
        (Ipv6Setting::DisableIpv6, 1),
    ] {
        set_ipv6_setting(left, setting, value).unwrap();
        assert_eq!(ipv6_setting(left, setting).unwrap(), value, "{setting:?}");
    }
    assert_eq!(
        ipv6_setting(name("right"), Ipv6Setting::AcceptRa).unwrap(),
        1
    );
    let error = ipv6_setting(name("none"), Ipv6Setting::AcceptRa).unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error:?}");
    let error = set_ipv6_setting(left, Ipv6Setting::AddrGenMode, 99).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(22));
}

/// It is there, or it is told apart from an interface that is not.
fn setting_that_the_kernel_lacks_is_named() {
    let rtnl = &mut Rtnl::open().unwrap();
    pair(rtnl);
    let setting = |of: &str| ipv6_setting(name(of), Ipv6Setting::ForceForwarding);
    let is_there = fs::exists("/proc/sys/net/ipv6/conf/all/force_forwarding").unwrap();
    match setting("left") {
        Ok(value) => assert!(is_there && value == 0),
        Err(error) => {
            assert!(!is_there, "{error}");
            assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        }
    }
    let error = setting("none").unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error:?}");
}

fn one_interface_forwards_while_the_host_does_not() {
    let router = Router::new();
    assert!(!router.forwards_to("10.0.20.2:7"), "without being told");
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| changes.set_ipv4(index(10), &[(Ipv4Setting::Forwarding, 1)]))
        .unwrap();
    assert!(router.comes_to_forward_to("10.0.20.2:7"));
    let forward = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(forward.trim(), "0");
}

fn one_interface_forwards_ipv6_while_the_host_does_not() {
    let router = Router::new();
    assert!(!router.forwards_to("[fd00:20::2]:7"), "without being told");
    set_ipv6_setting(name("in"), Ipv6Setting::ForceForwarding, 1).unwrap();
    assert!(router.comes_to_forward_to("[fd00:20::2]:7"));
    let all = ipv6_setting(name("all"), Ipv6Setting::Forwarding);
    assert_eq!(all.unwrap(), 0);
}

/// The test's namespace, between two hosts that are each in one of their own:
/// `in` leads to the client, `out` to the server.
struct Router {
    client: NetNs,
    server: NetNs,
}

impl Router {
    fn new() -> Self {
        let rtnl = &mut Rtnl::open().unwrap();
        let (client, server) = (NetNs::new().unwrap(), NetNs::new().unwrap());
        let sides = [("in", 10, &client), ("out", 20, &server)];
        rtnl.apply(|changes| {
            for (near, number, namespace) in sides {
                let veth = NewLink::veth(name(near), name("eth0")).index(index(number));
                changes.add_link(&veth.peer_index(index(3)).peer_netns(namespace));
                for address in [
                    format!("10.0.{number}.1/24"),
                    format!("fd00:{number}::1/64"),
                ] {
                    let address = Address::new(index(number), net(&address));
                    changes.add_address(&address.without_dad());
                }
            }
        })
        .unwrap();
        for (near, number, namespace) in sides {
            // Without waiting, a router cannot ask for neighbours: it has no
            // link-local address yet.
            set_ipv6_setting(name(near), Ipv6Setting::AcceptDad, 0).unwrap();
            rtnl.apply(|changes| changes.set_link(&LinkChange::new(index(number)).up()))
                .unwrap();
            namespace.run(|| configure_host(number)).unwrap();
        }
        Self { client, server }
    }

    /// [`Self::forwards_to`], for a busy machine that may take more than one
    /// try.
    fn comes_to_forward_to(&self, to: &str) -> bool {
        (0..20).any(|_| self.forwards_to(to))
    }

    /// Whether what the client sends arrives at the server.
    fn forwards_to(&self, to: &str) -> bool {
        let target = self.server.run(|| UdpSocket::bind(to).unwrap()).unwrap();
        let wait = Some(Duration::from_millis(300));
        target.set_read_timeout(wait).unwrap();
        let any = if target.local_addr().unwrap().is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let source = self.client.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        source
            .send_to(b"hello", target.local_addr().unwrap())
            .unwrap();
        target.recv(&mut [0; 8]).is_ok()
    }
}

/// Gives `eth0` of the calling thread's namespace the second addresses of the
/// side, and default routes to the first.
fn configure_host(number: u32) {
    let eth0 = index(3);
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.set_link(&LinkChange::new(eth0).up());
        for (own, any, gateway) in [
            (
                format!("10.0.{number}.2/24"),
                "0.0.0.0/0",
                format!("10.0.{number}.1"),
            ),
            (
                format!("fd00:{number}::2/64"),
                "::/0",
                format!("fd00:{number}::1"),
            ),
        ] {
            changes.add_address(&Address::new(eth0, net(&own)).without_dad());
            changes.add_route(&Route::new(net(any)).via(addr(&gateway)).dev(eth0));
        }
    })
    .unwrap();
}
