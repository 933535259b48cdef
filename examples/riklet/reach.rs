//! Who reaches what: what the demo tries, and what should come of it.

use std::net::IpAddr;
use std::thread;

use tapwire::{Attachment, Protocol};

use crate::check::{Attempt, Check, Expected, From};
use crate::demo::Function;
use crate::support::network::{CLIENT, CLIENT_PORT, NODE, NODE_PORT, Network};
use crate::support::progress::Progress;
use crate::support::table::Table;
use crate::{Failure, function};

/// What was tried under one title.
pub(crate) struct Report {
    title: &'static str,
    checks: Vec<Check>,
}

impl Report {
    /// How many attempts there were.
    pub(crate) fn checked(&self) -> usize {
        self.checks.len()
    }

    /// How many of them did not go as they should.
    pub(crate) fn wrong(&self) -> usize {
        self.checks.iter().filter(|check| !check.right).count()
    }

    /// Title and table.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new(&[
            "from",
            "to",
            "port",
            "source seen, IPv4",
            "source seen, IPv6",
            "as it should",
        ])
        .indent(2);
        for check in &self.checks {
            let [ipv4, ipv6] = &check.found;
            let verdict = if check.right { "yes" } else { "NO" };
            table.row([&check.from, &check.what, &check.port, ipv4, ipv6, &verdict]);
        }
        format!("{}\n\n{table}", self.title)
    }
}

/// Every function, from outside and from the node itself.
pub(crate) fn functions(
    network: &Network,
    functions: &[Function],
    progress: &mut Progress,
) -> Result<Report, Failure> {
    let mut checks = Vec::new();
    for (from, sources) in [
        (From::Machine("client", network.client()), CLIENT),
        (From::Machine("node", network.node()), NODE),
    ] {
        for function in functions {
            let name = function.attachment.name();
            for &(port, _) in &function.ports {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    progress.step(format_args!("{from} to {name}, {protocol} {port}"));
                    let attempt = Attempt {
                        from,
                        what: name.to_owned(),
                        protocol,
                        to: NODE,
                        port,
                        expected: Expected::Guest(&function.guest, sources),
                    };
                    checks.push(attempt.run()?);
                }
            }
        }
    }
    Ok(Report {
        title: "Every function, by the node's address, from outside and from the node itself:",
        checks,
    })
}

/// From every function to a server outside.
pub(crate) fn outside(functions: &[Function], progress: &mut Progress) -> Result<Report, Failure> {
    let mut checks = Vec::new();
    for function in functions {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            progress.step(format_args!("{} to the client", function.attachment.name()));
            let attempt = Attempt {
                from: From::Guest(&function.guest),
                what: "client".to_owned(),
                protocol,
                to: CLIENT,
                port: CLIENT_PORT,
                expected: match protocol {
                    Protocol::Udp => Expected::Echo(NODE),
                    _ => Expected::Answer("client", NODE),
                },
            };
            checks.push(attempt.run()?);
        }
    }
    Ok(Report {
        title: "Functions to a server outside, which sees the node's address (masquerade):",
        checks,
    })
}

/// What is there besides, most of which must be closed.
pub(crate) fn besides(network: &Network, functions: &[Function]) -> Result<Report, Failure> {
    let client = From::Machine("client", network.client());
    let tcp = |from, what: &str, to, port, expected| Attempt {
        from,
        what: what.to_owned(),
        protocol: Protocol::Tcp,
        to,
        port,
        expected,
    };
    let own_port = "the node's own port";
    let open = Expected::Answer("node", CLIENT);
    let mut attempts = vec![tcp(client, own_port, NODE, NODE_PORT, open)];
    for function in functions {
        let from = From::Guest(&function.guest);
        attempts.push(tcp(from, own_port, NODE, NODE_PORT, Expected::Nothing));
    }
    // Each is tried by its neighbour in the list.
    let neighbours = functions.iter().cycle().skip(1);
    for (function, neighbour) in functions.iter().zip(neighbours) {
        let Some(&(port, target)) = function.ports.first() else {
            continue;
        };
        let name = function.attachment.name();
        let addresses = function::addresses(&function.attachment);
        let past = format!("{name}, past the node");
        attempts.push(tcp(client, &past, addresses, target, Expected::Nothing));
        // A guest comes back to itself by its gateway, since it would not
        // take a packet from its own address.
        let itself = Expected::Guest(&function.guest, gateways(&function.attachment));
        let from = From::Guest(&function.guest);
        attempts.push(tcp(from, "itself, by the node", NODE, port, itself));
        if neighbour.attachment.name() != name {
            let from = From::Guest(&neighbour.guest);
            attempts.push(tcp(from, &past, addresses, target, Expected::Nothing));
            let sources = function::addresses(&neighbour.attachment);
            let open = Expected::Guest(&function.guest, sources);
            let by_node = format!("{name}, by the node");
            attempts.push(tcp(from, &by_node, NODE, port, open));
        }
    }
    Ok(Report {
        title: "Who reaches what else (closed: nobody answers, as nobody was let in):",
        checks: all_at_once(&attempts)?,
    })
}

/// Most of it is waiting for answers that should not come.
fn all_at_once(attempts: &[Attempt<'_>]) -> Result<Vec<Check>, Failure> {
    thread::scope(|scope| {
        let running: Vec<_> = attempts
            .iter()
            .map(|attempt| scope.spawn(|| attempt.run()))
            .collect();
        running
            .into_iter()
            .map(|check| check.join().map_err(|_| "a check panicked")?)
            .collect()
    })
}

fn gateways(attachment: &Attachment) -> [IpAddr; 2] {
    [
        attachment.gateway_ipv4().into(),
        attachment.gateway_ipv6().into(),
    ]
}
