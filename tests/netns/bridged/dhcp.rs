//! A guest that knows nothing is told everything by DHCP, DHCPv6 and router
//! advertisements; judges are BusyBox's client and the kernel.

use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::dhcp::{Responder, ResponderCounters};

use super::pod::{MTU, POD, PodGuest, Pods, Wiring, eth0, inside, ip, servers};
use crate::agent::File;
use crate::support::{run, trials};
use crate::world::{SOON, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "busybox"]:
        guest_in_a_subnet_is_told_everything,
        guest_behind_proxy_arp_is_told_everything,
    ]
}

fn guest_in_a_subnet_is_told_everything() {
    play(Wiring::Subnet);
}

fn guest_behind_proxy_arp_is_told_everything() {
    play(Wiring::ProxyArp);
}

fn play(wiring: Wiring) {
    let pods = Pods::new(wiring);
    let _outside = servers(&pods.outside, "outside");
    let _other = servers(&pods.other, "other");
    let _pod = servers(&pods.pod, "pod");
    pods.pin();
    pods.assert_answers("pod");
    let bridged = pods.take_over();
    let config = bridged.config().clone();
    let config = config
        .dns([10, 96, 0, 10].into())
        .hostname("web-0")
        .unwrap();
    let mut guest = PodGuest::boot(&pods, &bridged);
    let counters = serving(
        &pods,
        || Responder::open(bridged.tap(), config).unwrap(),
        || {
            let told = inside(&guest.netns, || {
                ip("link set lo up");
                ip("link set eth0 up");
                (by_dhcp(), by_dhcp6())
            });
            assert_eq!(told.0, "web-0 10.96.0.10");
            assert_eq!(told.1, POD[1].parse::<Ipv6Addr>().unwrap());
            inside(&guest.netns, || {
                ip(&format!("address add {}/128 dev eth0 nodad", told.1));
            });
            let has_router = |_| {
                let routes = inside(&guest.netns, || run("ip", &["-6", "route"]));
                routes.contains("default via fe80::").then_some(routes)
            };
            let routes = within(SOON, has_router).expect("a default router is advertised");
            assert!(
                routes.contains(&format!("mtu {MTU}")) || link_has_mtu(&guest),
                "{routes}"
            );
            guest.serve();
            pods.assert_answers("guest");
            guest.assert_reaches();
        },
    );
    assert_eq!(counters.dhcp(), 2, "an offer and a lease: {counters:?}");
    assert_eq!(counters.dhcp6(), 3, "{counters:?}");
    assert!(counters.advertisements() >= 2, "{counters:?}");
    assert_eq!(counters.lost(), 0, "{counters:?}");
}

fn link_has_mtu(guest: &PodGuest) -> bool {
    let link = inside(&guest.netns, || run("ip", &["link", "show", "eth0"]));
    link.contains(&format!("mtu {MTU}"))
}

/// Does `work` while a responder serves.
fn serving(
    pods: &Pods,
    open: impl FnOnce() -> Responder + Send,
    work: impl FnOnce(),
) -> ResponderCounters {
    let mut responder = inside(&pods.pod, open);
    let (running, stop) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            responder.serve(&stop).unwrap();
            responder.counters()
        });
        // Dropped also if `work` panics, or the scope would wait for ever.
        let running = running;
        work();
        drop(running);
        thread.join().unwrap()
    })
}

/// Configures the interface by what BusyBox's client is told, and gives the
/// names that it is told.
fn by_dhcp() -> String {
    let script = File::new(
        "udhcpc",
        "#!/bin/sh -e\n\
         [ \"$1\" = bound ] || exit 0\n\
         ip link set \"$interface\" mtu \"$mtu\"\n\
         ip address add \"$ip/$mask\" dev \"$interface\"\n\
         echo \"$hostname $dns\" > \"$0.told\"\n\
         set -- $staticroutes\n\
         while [ $# -gt 1 ]; do\n\
           via=\"via $2\"\n\
           [ \"$2\" != 0.0.0.0 ] || via=\n\
           ip route add \"$1\" $via dev \"$interface\"\n\
           shift 2\n\
         done\n",
    );
    fs::set_permissions(script.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let options = [
        "-O",
        "mtu",
        "-O",
        "staticroutes",
        "-O",
        "hostname",
        "-O",
        "dns",
    ];
    let mut words = vec![
        "udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "1", "-i", "eth0",
    ];
    words.extend(options);
    words.extend(["-s", script.path()]);
    run("busybox", &words);
    let told = format!("{}.told", script.path());
    let words = fs::read_to_string(&told).unwrap();
    fs::remove_file(told).unwrap();
    words.trim().to_owned()
}

/// The address that DHCPv6 gives: by four messages, and by two.
fn by_dhcp6() -> Ipv6Addr {
    let scope = tapwire::route::Rtnl::open().unwrap().link(eth0()).unwrap();
    let scope = scope.unwrap().index().get();
    let socket = UdpSocket::bind("[::]:546").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let to = SocketAddrV6::new("ff02::1:2".parse().unwrap(), 547, 0, scope);
    let mut answer = [0; 1500];
    let mut ask = |message: &[u8]| {
        // The link-local address is not in use at once.
        let answered = within(SOON, |_| {
            socket.send_to(message, to).ok()?;
            let (length, _) = socket.recv_from(&mut answer).ok()?;
            Some(answer[..length].to_vec())
        });
        answered.expect("an answer of the server")
    };
    let client = [0, 1, 0, 2, 7, 7];
    let want = [0, 3, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    let offer = ask(&[&[1, 1, 2, 3][..], &client, &want].concat());
    assert_eq!(offer[..4], [2, 1, 2, 3]);
    let server = option(&offer[4..], 2);
    let named = [&[0, 2, 0, u8::try_from(server.len()).unwrap()][..], &server].concat();
    let lease = ask(&[&[3, 1, 2, 4][..], &client, &named, &want].concat());
    assert_eq!(lease[..4], [7, 1, 2, 4]);
    let at_once = ask(&[&[1, 1, 2, 5][..], &client, &want, &[0, 14, 0, 0]].concat());
    assert_eq!(at_once[..4], [7, 1, 2, 5]);
    let address = |message: &[u8]| {
        let association = option(&message[4..], 3);
        let entry = option(&association[12..], 5);
        assert_eq!(entry[16..24], [255; 8], "for ever");
        Ipv6Addr::from(<[u8; 16]>::try_from(&entry[..16]).unwrap())
    };
    assert_eq!(address(&lease), address(&at_once));
    address(&lease)
}

fn option(mut options: &[u8], wanted: u16) -> Vec<u8> {
    loop {
        let [a, b, c, d, ..] = *options else {
            panic!("no option {wanted}");
        };
        let end = 4 + usize::from(u16::from_be_bytes([c, d]));
        if u16::from_be_bytes([a, b]) == wanted {
            return options[4..end].to_vec();
        }
        options = &options[end..];
    }
}
