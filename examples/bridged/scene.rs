//! One way of wiring pods: before, with a guest in a pod's place, and after.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use std::{io, thread};

use tapwire::bridged::{BridgePlan, Bridged, PodInterface};
use tapwire::route::{Neighbour, Rtnl};
use tapwire::sys::NetNs;

use super::guest::Guest;
use super::pods::{OUTSIDE, PEER, POD, PORT, Pods, Wiring};
use super::support::inventory::Inventory;
use super::support::program::{Failure, say};
use super::support::table::Table;
use super::support::{client, http};

/// A scene that can be played once.
pub(crate) struct Scene {
    wiring: Wiring,
    pods: Pods,
    checks: Vec<Check>,
}

/// What came of it.
pub(crate) struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// How many things were looked at.
    pub(crate) fn checked(&self) -> usize {
        self.checks.len()
    }

    /// How many of them were not as they should be.
    pub(crate) fn wrong(&self) -> usize {
        self.checks.iter().filter(|check| !check.right()).count()
    }
}

/// One question: what came for each family, and what should have.
struct Check {
    when: &'static str,
    who: &'static str,
    what: String,
    found: [String; 2],
    expected: [String; 2],
}

impl Check {
    fn right(&self) -> bool {
        self.found == self.expected
    }
}

impl Scene {
    pub(crate) fn new(wiring: Wiring) -> Result<Self, Failure> {
        Ok(Self {
            wiring,
            pods: Pods::new(wiring)?,
            checks: Vec::new(),
        })
    }

    pub(crate) fn play(mut self) -> Result<Report, Failure> {
        say(self.title())?;
        let pod = self.pods.pod().run(read)??;
        self.pods.pin(pod.mac())?;
        self.ask("before", "pod")?;
        let before = Inventory::take(self.pods.pod(), &[])?;

        let bridged = self.take_over(pod)?;
        {
            let guest = Guest::boot(self.pods.pod(), &bridged)?;
            self.ask("bridged", "guest")?;
            self.ask_from_guest(&guest)?;
            self.look_at_neighbour("bridged", &bridged)?;
        }
        self.pods.pod().run(|| bridged.undo())??;
        self.ask("undone", "pod")?;
        self.look_at_neighbour("undone", &bridged)?;
        let left = Inventory::take(self.pods.pod(), &[])?.differences(&before);
        self.check("undone", "pod", "has what it had before", {
            let differences = left.join("; ");
            if left.is_empty() {
                "yes".to_owned()
            } else {
                differences
            }
        });
        say(self.table())?;
        Ok(Report {
            checks: self.checks,
        })
    }

    fn title(&self) -> &'static str {
        match self.wiring {
            Wiring::Subnet => SUBNET,
            Wiring::ProxyArp => PROXY_ARP,
        }
    }

    /// Puts a TAP into the pod's place, and says what was done.
    fn take_over(&self, pod: PodInterface) -> Result<Bridged, Failure> {
        let plan = BridgePlan::new(pod)
            .bridge("guestbr".parse()?)
            .tap("guest0".parse()?);
        say("What is done in the pod:\n")?;
        for line in plan.to_string().lines() {
            say(format_args!("  {line}"))?;
        }
        let bridged = self.pods.pod().run(|| plan.take_over())??;
        say(BRIDGED)?;
        Ok(bridged)
    }

    /// Asks for the pod's addresses from everywhere.
    fn ask(&mut self, when: &'static str, name: &str) -> Result<(), Failure> {
        for (who, sources) in [("outside", OUTSIDE), ("peer", PEER)] {
            let netns = match who {
                "outside" => self.pods.outside(),
                _ => self.pods.peer(),
            };
            let mut found = [String::new(), String::new()];
            for (found, address) in found.iter_mut().zip(POD) {
                *found = asked(netns, SocketAddr::new(address, PORT))?;
            }
            self.checks.push(Check {
                when,
                who,
                what: "asks the pod's address".to_owned(),
                found,
                expected: sources.map(|source| answer(name, source)),
            });
        }
        Ok(())
    }

    /// The guest asks, from the pod's addresses.
    fn ask_from_guest(&mut self, guest: &Guest) -> Result<(), Failure> {
        for (name, addresses) in [("outside", OUTSIDE), ("peer", PEER)] {
            let mut found = [String::new(), String::new()];
            for (found, address) in found.iter_mut().zip(addresses) {
                *found = asked(guest.netns(), SocketAddr::new(address, PORT))?;
            }
            self.checks.push(Check {
                when: "bridged",
                who: "guest",
                what: format!("asks {name}"),
                found,
                expected: POD.map(|source| answer(name, source)),
            });
        }
        Ok(())
    }

    /// Whether who took the pod's MAC address for granted still does.
    fn look_at_neighbour(&mut self, when: &'static str, bridged: &Bridged) -> Result<(), Failure> {
        let mac = bridged.pod().mac();
        let (who, netns) = self.pods.neighbour();
        let neighbours = netns.run(|| Rtnl::open()?.neighbours(None))??;
        let found = POD.map(|address| {
            let entry = neighbours.iter().find(|entry| entry.ip() == address);
            let entry = entry.and_then(Neighbour::mac);
            entry.map_or_else(|| "none".to_owned(), |mac| mac.to_string())
        });
        self.checks.push(Check {
            when,
            who,
            what: "has a permanent entry for the pod".to_owned(),
            found,
            expected: [mac, mac].map(|mac| mac.to_string()),
        });
        Ok(())
    }

    fn check(&mut self, when: &'static str, who: &'static str, what: &str, found: String) {
        self.checks.push(Check {
            when,
            who,
            what: what.to_owned(),
            found: [found.clone(), found],
            expected: ["yes", "yes"].map(str::to_owned),
        });
    }

    fn table(&self) -> String {
        let headers = ["when", "who", "what", "IPv4", "IPv6", "as it should"];
        let mut table = Table::new(&headers).indent(2);
        for check in &self.checks {
            let [ipv4, ipv6] = &check.found;
            let verdict = if check.right() { "yes" } else { "NO" };
            let Check {
                when, who, what, ..
            } = check;
            table.row([when, who, what, ipv4, ipv6, &verdict]);
        }
        table.to_string()
    }
}

/// The pod's interface.
fn read() -> Result<PodInterface, tapwire::Error> {
    PodInterface::read("eth0".parse()?)
}

/// Who answers, and whom it saw.
fn asked(netns: &NetNs, to: SocketAddr) -> Result<String, Failure> {
    netns
        .run(|| patiently(|timeout| client::http_get(to, "/", timeout)))
        .map_err(Into::into)
}

/// Tries until there is an answer: neighbours have to find each other.
fn patiently(mut ask: impl FnMut(Duration) -> io::Result<String>) -> String {
    let begun = Instant::now();
    loop {
        match ask(ONE_TRY) {
            Ok(body) => {
                return match http::greeting_in(&body) {
                    Some((name, source)) => answer(name, source.ip().to_canonical()),
                    None => body,
                };
            }
            Err(error) if begun.elapsed() > PATIENCE => return format!("nothing: {error}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn answer(name: &str, source: IpAddr) -> String {
    format!("{name}, to {source}")
}

const SUBNET: &str = "\
Pods of one subnet, on a bridge

                          ┌─[ cni0 10.244.3.1 ]─┬── eth0 pod 10.244.3.5/24
  outside ─────────── node                      └── eth0 peer 10.244.3.6/24
  203.0.113.7
";

const PROXY_ARP: &str = "\
Pods with an address each, behind proxy ARP

                          ┌── eth0 pod 10.244.3.5/32, by way of 169.254.1.1
  outside ─────────── node
  203.0.113.7             └── eth0 peer 10.244.3.6/32, by way of 169.254.1.1
";

const BRIDGED: &str = "
  ··· eth0 ──[ guestbr ]── guest0 ── guest, with the pod's MAC and addresses
       │
      pod, which keeps all it had and hears nothing
";

const ONE_TRY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
