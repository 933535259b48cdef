//! A guest behind a pod in Istio's ambient mesh: its rules as `istio-cni` puts
//! them into a pod's namespace, and a stand-in for ztunnel, with marked and
//! transparent sockets.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use libtest_mimic::Trial;
use tapwire::masqueraded::{AMBIENT_PORTS, Masquerade, Mesh};
use tapwire::sys::NetNs;
use tapwire::{Conflict, Egress, Guest, Protocol};

use super::{KEPT, apply, boot, connected, masquerade, owner, ports, serve, state, undo};
use crate::bridged::pod::{
    OTHER, OUTSIDE, POD, PORT, Pods, Wiring, asked, assert_same, inside, ip,
};
use crate::stand_ins::client::Connection;
use crate::support::{feed, run, trials};
use crate::world::{FAMILIES, NEVER, SOON, ask, at, source_in, within};

pub(super) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft", "python3"]:
        guest_behind_ztunnel_sees_its_clients,
        guest_behind_ztunnel_stays_within_its_egress,
        ambient_mesh_is_left_for_a_sidecar_and_for_none,
        mesh_that_takes_what_the_guest_begins_is_told,
    ]
}

fn guest_behind_ztunnel_sees_its_clients() {
    for wiring in [Wiring::Subnet, Wiring::ProxyArp] {
        play(wiring);
    }
}

fn play(wiring: Wiring) {
    let pods = Pods::new(wiring);
    let empty = state(&pods.pod);
    let mesh = Ambient::enrol(&pods);
    let before = state(&pods.pod);
    let wanted = Masquerade::new(
        owner(),
        Guest::new("web-0")
            .unwrap()
            .service(format!("tcp/{KEPT}").parse().unwrap()),
    )
    .exclude(Protocol::Tcp, ports(KEPT, KEPT))
    .mesh(Mesh::ambient());
    let plan = inside(&pods.pod, || wanted.plan().unwrap());
    assert!(plan.to_string().contains("mark 0x539/0xfff"), "{plan}");
    let masqueraded = apply(&pods, &wanted);
    let plan = inside(&pods.pod, || wanted.plan().unwrap());
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(apply(&pods, &wanted), masqueraded, "again");
    {
        let _servers = serve(&pods);
        let guest = boot(&pods, &masqueraded);
        for family in FAMILIES {
            let outside: IpAddr = OUTSIDE[family].parse().unwrap();
            let pod: IpAddr = POD[family].parse().unwrap();
            let gateway: IpAddr = ["10.0.2.1", "fd10:0:2::1"][family].parse().unwrap();
            let private: IpAddr = ["10.0.2.2", "fd10:0:2::2"][family].parse().unwrap();
            // In, by way of ztunnel: the guest sees the client.
            let answer = asked(&pods.outside, at(POD[family], PORT));
            assert_eq!(answer, Some(("guest".into(), outside)));
            mesh.told(&format!("in {outside} {pod} {PORT}"));
            // What the pod keeps is still its own, by way of ztunnel as well.
            let answer = asked(&pods.outside, at(POD[family], KEPT));
            assert_eq!(answer, Some(("pod".into(), outside)));
            mesh.told(&format!("in {outside} {pod} {KEPT}"));
            // Connections of the mesh among itself.
            touch(&pods.outside, at(POD[family], 15_008));
            mesh.told(&format!("hbone {outside}"));
            // UDP is none of the mesh's business.
            let (_, seen) =
                ask(&pods.outside, Protocol::Udp, at(POD[family], PORT), SOON).expect("the guest");
            assert_eq!(seen.to_canonical(), outside);
            // A probe of the kubelet: straight to the guest.
            let (name, seen) = probe(&pods, family).expect("a probe");
            assert_eq!(
                (name.as_str(), seen),
                ("guest", PROBE[family].parse().unwrap())
            );
            // Out, by way of ztunnel, from the pod's address.
            for to in [OUTSIDE, OTHER] {
                let (_, seen) = asked(&guest.netns, at(to[family], PORT)).expect("a way out");
                assert_eq!(seen, pod);
                mesh.told(&format!("out {private} {} {PORT}", to[family]));
            }
            // Itself, by the pod's address, and what it is granted of the pod.
            let answer = asked(&guest.netns, at(POD[family], PORT));
            assert_eq!(answer, Some(("guest".into(), gateway)));
            let kept = SocketAddr::new(gateway, KEPT);
            let answer = asked(&guest.netns, kept);
            assert_eq!(answer, Some(("pod".into(), private)));
            // A process of the pod, which knows no mesh.
            let (name, _) = asked(&pods.pod, at(OUTSIDE[family], PORT)).expect("outside");
            assert_eq!(name, "outside");
            mesh.told(&format!("out {pod} {} {PORT}", OUTSIDE[family]));
        }
        for word in PROBE.into_iter().chain(["failed"]) {
            mesh.never_told(word);
        }
        // It is the rule that brings the answers back.
        inside(&pods.pod, || ip("-4 rule del pref 100"));
        let to = at(POD[0], PORT);
        assert_eq!(ask(&pods.outside, Protocol::Tcp, to, NEVER), None);
    }
    undo(&pods);
    assert_same(&state(&pods.pod), &before, "removed");
    drop(mesh);
    assert_same(&state(&pods.pod), &empty, "and the mesh");
    assert_eq!(AMBIENT_PORTS.len(), 5);
}

fn guest_behind_ztunnel_stays_within_its_egress() {
    let pods = Pods::new(Wiring::Subnet);
    let mesh = Ambient::enrol(&pods);
    let prefixes = OUTSIDE.map(|address| address.parse::<IpAddr>().unwrap().into());
    let guest = Guest::new("web-0").unwrap();
    let guest = guest.egress(Egress::masquerade().only(prefixes));
    let wanted = Masquerade::new(owner(), guest).mesh(Mesh::ambient());
    let masqueraded = apply(&pods, &wanted);
    let _servers = serve(&pods);
    let guest = boot(&pods, &masqueraded);
    for family in FAMILIES {
        let (name, _) = asked(&guest.netns, at(OUTSIDE[family], PORT)).expect("granted");
        assert_eq!(name, "outside");
        let to = at(OTHER[family], PORT);
        assert_eq!(ask(&guest.netns, Protocol::Tcp, to, NEVER), None);
        let private = ["10.0.2.2", "fd10:0:2::2"][family];
        mesh.told(&format!("out {private} {} {PORT}", OUTSIDE[family]));
        mesh.never_told(OTHER[family]);
    }
}

fn ambient_mesh_is_left_for_a_sidecar_and_for_none() {
    let pods = Pods::new(Wiring::Subnet);
    let ambient = masquerade().mesh(Mesh::ambient());
    apply(&pods, &ambient);
    let there = inside(&pods.pod, || run("ip", &["-6", "rule"]));
    assert!(there.contains("fwmark 0x100000/0x100000"), "{there}");
    for wanted in [masquerade().mesh(Mesh::sidecar()), masquerade()] {
        let plan = inside(&pods.pod, || wanted.plan().unwrap());
        assert!(!plan.is_empty());
        apply(&pods, &wanted);
        let plan = inside(&pods.pod, || wanted.plan().unwrap());
        assert!(plan.is_empty(), "{plan}");
        for family in ["-4", "-6"] {
            let rules = inside(&pods.pod, || run("ip", &[family, "rule"]));
            assert!(!rules.contains("fwmark"), "{rules}");
        }
        apply(&pods, &ambient);
    }
    // Only a part is missing.
    inside(&pods.pod, || ip("-6 rule del pref 100"));
    let plan = inside(&pods.pod, || ambient.plan().unwrap());
    assert!(!plan.is_empty());
    apply(&pods, &ambient);
    assert_eq!(inside(&pods.pod, || run("ip", &["-6", "rule"])), there);
}

fn mesh_that_takes_what_the_guest_begins_is_told() {
    let pods = Pods::new(Wiring::Subnet);
    let mesh = Ambient::enrol(&pods);
    let wanted = masquerade().exclude(Protocol::Tcp, ports(KEPT, KEPT));
    let wanted = wanted
        .exclude(Protocol::Udp, ports(KEPT, KEPT))
        .mesh(Mesh::ambient());
    let guest = boot(&pods, &apply(&pods, &wanted));
    let _servers = serve(&pods);
    let told = || inside(&pods.pod, || wanted.conflicts().unwrap());
    assert_eq!(told(), []);
    let outside = at(OUTSIDE[0], PORT);
    asked(&guest.netns, outside).expect("a way out");
    mesh.told(&format!("out 10.0.2.2 {} {PORT}", OUTSIDE[0]));
    let rules = "table ip transparent {
        chain pre {
            type filter hook prerouting priority mangle
            iifname != \"lo\" meta mark & 0xfff != 0x539 meta l4proto tcp tproxy to 127.0.0.1:15006 meta mark set 0x111 accept
        }
    }\n";
    inside(&pods.pod, || feed("nft", &["-f", "-"], rules));
    let [conflict] = &told()[..] else {
        panic!("{:?}", told());
    };
    assert!(
        matches!(conflict, Conflict::Intercepted { .. }),
        "{conflict}"
    );
    assert!(
        conflict.to_string().contains("tproxy") && conflict.holder().contains("transparent"),
        "{conflict}"
    );
    assert!(conflict.breaks().contains("guest opens") && conflict.remedy().contains("REDIRECT"));
    // And so it is.
    assert_eq!(ask(&guest.netns, Protocol::Tcp, outside, NEVER), None);
}

/// A pod that is enrolled in the mesh.
struct Ambient<'a> {
    pods: &'a Pods,
    ztunnel: Child,
    lines: Receiver<String>,
    all: RefCell<Vec<String>>,
}

impl<'a> Ambient<'a> {
    fn enrol(pods: &'a Pods) -> Self {
        let mut ztunnel = inside(&pods.pod, || {
            feed("nft", &["-f", "-"], RULES);
            for words in ROUTING {
                ip(words);
            }
            Command::new("python3")
                .args(["-c", ZTUNNEL])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        inside(&pods.node, || {
            for address in PROBE {
                ip(&format!("address add {address} dev lo"));
            }
        });
        let output = BufReader::new(ztunnel.stdout.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let listens = || {
            let sockets = inside(&pods.pod, || run("ss", &["-Htln"]));
            (sockets.matches(":150").count() == 6).then_some(())
        };
        within(SOON, |_| listens()).expect("ztunnel listens");
        Self {
            pods,
            ztunnel,
            lines,
            all: RefCell::default(),
        }
    }

    /// It says this, now or soon.
    #[track_caller]
    fn told(&self, words: &str) {
        let end = Instant::now() + SOON;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("ztunnel does not say {words}: {:?}", self.all.borrow());
            };
            self.all.borrow_mut().push(line.clone());
            if line == words {
                return;
            }
        }
    }

    /// It has never said anything of that.
    #[track_caller]
    fn never_told(&self, word: &str) {
        let mut all = self.all.borrow_mut();
        all.extend(self.lines.try_iter());
        assert!(
            !all.iter().any(|line| line.contains(word)),
            "{word}: {all:?}"
        );
    }
}

impl Drop for Ambient<'_> {
    fn drop(&mut self) {
        drop(self.ztunnel.stdin.take());
        self.ztunnel.wait().unwrap();
        inside(&self.pods.pod, || {
            for family in ["ip", "ip6"] {
                for table in ["mangle", "nat"] {
                    run("nft", &["delete", "table", family, table]);
                }
            }
            for words in ROUTING {
                ip(&words.replace(" add ", " del "));
            }
        });
    }
}

/// Connects and waits for the end.
fn touch(from: &NetNs, to: SocketAddr) {
    inside(from, || {
        let mut stream = TcpStream::connect(to).unwrap();
        drop(stream.read(&mut [0; 1]));
    });
}

/// What a probe of the kubelet gets, as it leaves the node.
fn probe(pods: &Pods, family: usize) -> Option<(String, IpAddr)> {
    inside(&pods.node, || {
        let (source, to) = (at(PROBE[family], 0), at(POD[family], PORT));
        within(SOON, |timeout| {
            let stream = connected(source, to).ok()?;
            let mut connection = Connection::over(stream, to, timeout);
            let answer = connection.get("/").ok()?;
            let (name, seen) = source_in(Protocol::Tcp, &answer);
            Some((name, seen.to_canonical()))
        })
    })
}

/// What the kubelet's probes come from, once they have left the node.
const PROBE: [&str; 2] = ["169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"];

const ZTUNNEL: &str = include_str!("ztunnel.py");

/// So marked packets, whose sockets have others' addresses, come back.
const ROUTING: [&str; 4] = [
    "-4 route add local 0.0.0.0/0 dev lo table 100",
    "-6 route add local ::/0 dev lo table 100",
    "-4 rule add fwmark 0x111/0xfff pref 32764 lookup 100",
    "-6 rule add fwmark 0x111/0xfff pref 32764 lookup 100",
];

/// The rules of a pod in an ambient mesh, in the form of `iptables-nft`.
pub(super) const RULES: &str = include_str!("ambient.nft");
