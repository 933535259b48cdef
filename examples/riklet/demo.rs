//! The demo: functions on a throwaway node, from deployment to removal.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tapwire::sys::{TapOptions, enter_user_namespace, has_net_admin};
use tapwire::topology::GuestNode;
use tapwire::{Attachment, Exposed, Host, Owner};

use crate::reach::{self, Report};
use crate::support::guest::{Config, Guest};
use crate::support::inventory::Inventory;
use crate::support::network::{CLIENT, NODE, Network};
use crate::support::progress::Progress;
use crate::support::table::Table;
use crate::support::workload::Workload;
use crate::{Failure, function, load, say};

/// Runs the demo with the workloads of these files, or with its own three.
pub(crate) fn main(paths: &[PathBuf]) -> Result<(), Failure> {
    let workloads = if paths.is_empty() {
        load(&OWN.map(PathBuf::from))?
    } else {
        load(paths)?
    };
    // First of all: only a process with a single thread may do it.
    let unprivileged = !has_net_admin()?;
    if unprivileged {
        enter_user_namespace()?;
    }
    say("A node and a client, in network namespaces that end with this program.")?;
    if unprivileged {
        say("Not privileged, so both are inside a user namespace.")?;
    }
    let [(node4, node6), (client4, client6)] = [NODE, CLIENT].map(|[ipv4, ipv6]| (ipv4, ipv6));
    say(format_args!(
        "\n  node    {node4}  {node6}\n  client  {client4}  {client6}\n"
    ))?;
    Demo::new(&workloads)?.run(&workloads)
}

struct Demo {
    network: Network,
    host: Host,
    before: Inventory,
    functions: Vec<Function>,
    progress: Progress,
    wrong: usize,
    checked: usize,
}

/// A function that is deployed and runs.
pub(crate) struct Function {
    pub(crate) attachment: Attachment,
    /// Ports of the node, and of the function that they lead to.
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) guest: Guest,
}

impl Demo {
    fn new(workloads: &[Workload]) -> Result<Self, Failure> {
        let ports: usize = workloads.iter().map(|w| function::ports(w).len()).sum();
        let steps = ports
            .saturating_mul(STEPS_PER_PORT)
            .saturating_add(workloads.len().saturating_mul(STEPS_PER_FUNCTION))
            .saturating_add(OTHER_STEPS);
        let mut progress = Progress::new(steps);
        progress.step("making the node and the client");
        let network = Network::new()?;
        let before = Inventory::take(network.node(), &[])?;
        let owner = Owner::new("riklet")?;
        let host = network.node().run(|| Host::open(owner))??;
        Ok(Self {
            network,
            host,
            before,
            functions: Vec::new(),
            progress,
            wrong: 0,
            checked: 0,
        })
    }

    fn run(mut self, workloads: &[Workload]) -> Result<(), Failure> {
        for workload in workloads {
            self.progress
                .step(format_args!("deploying {}", workload.name()));
            let function = self.deploy(workload)?;
            self.functions.push(function);
        }
        self.show_functions()?;
        let progress = &mut self.progress;
        let report = reach::functions(&self.network, &self.functions, progress)?;
        self.conclude(&report)?;
        self.progress.step("what must be closed");
        let report = reach::besides(&self.network, &self.functions)?;
        self.conclude(&report)?;
        let report = reach::outside(&self.functions, &mut self.progress)?;
        self.conclude(&report)?;
        self.draw()?;
        self.tear_down()
    }

    /// Attaches and exposes a function, and starts its stand-in.
    fn deploy(&mut self, workload: &Workload) -> Result<Function, Failure> {
        let attachment = self.host.attach(&tapwire::Guest::new(workload.name())?)?;
        for exposure in &function::exposures_of_both_protocols(workload, &attachment)? {
            self.host.expose(exposure)?;
        }
        let mut config = Config::new(workload.name(), attachment.mac())
            .ipv4(
                attachment.ipv4(),
                attachment.prefix_ipv4(),
                attachment.gateway_ipv4(),
            )
            .ipv6(
                attachment.ipv6(),
                attachment.prefix_ipv6(),
                attachment.gateway_ipv6(),
            );
        let ports = function::ports(workload);
        let mut targets: Vec<u16> = ports.iter().map(|&(_, target)| target).collect();
        targets.sort_unstable();
        targets.dedup();
        for target in targets {
            config = config.http(target).echo(target);
        }
        // As a VMM does: it opens by its name the TAP that is there.
        let options = TapOptions::new(attachment.tap()).nonblocking();
        let tap = self.network.node().run(|| options.attach())??;
        Ok(Function {
            attachment,
            ports,
            guest: Guest::start(OwnedFd::from(tap), config)?,
        })
    }

    fn show_functions(&self) -> Result<(), Failure> {
        self.progress.hide();
        let mut table = Table::new(&[
            "function",
            "TAP",
            "IPv4",
            "IPv6",
            "node's ports, tcp and udp",
        ])
        .indent(2);
        for function in &self.functions {
            let attachment = &function.attachment;
            let ports: Vec<String> = function
                .ports
                .iter()
                .map(|(port, target)| format!("{port} → {target}"))
                .collect();
            table.row([
                &attachment.name(),
                &attachment.tap(),
                &attachment.ipv4(),
                &attachment.ipv6(),
                &ports.join(", "),
            ]);
        }
        say(format_args!("Deployed:\n\n{table}"))
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.progress.step("reading back what there is");
        let topology = self.host.topology()?;
        self.progress.hide();
        say("The node, as read back from the kernel:\n")?;
        for line in topology.tree().to_string().lines() {
            say(format_args!("  {line}"))?;
        }
        say("")?;
        self.checked = self.checked.saturating_add(1);
        let exposed = topology.guests().iter().flat_map(GuestNode::exposures);
        let counted: u64 = exposed.map(Exposed::connections).sum();
        let seen: usize = self.functions.iter().map(|f| f.guest.seen().len()).sum();
        if usize::try_from(counted).is_ok_and(|counted| counted == seen) {
            return say(format_args!(
                "The kernel counted {counted} connections, and the functions saw as many.\n"
            ));
        }
        self.wrong = self.wrong.saturating_add(1);
        say(format_args!(
            "WRONG: the kernel counted {counted} connections, the functions saw {seen}.\n"
        ))
    }

    /// Removes everything, and compares with what was there at first.
    fn tear_down(mut self) -> Result<(), Failure> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for function in &self.functions {
            addresses.extend(function::addresses(&function.attachment));
        }
        self.progress.step("removing everything");
        let deployed = Inventory::take(self.network.node(), &addresses)?;
        for function in self.functions.drain(..) {
            function.guest.stop()?;
        }
        self.host.remove()?;
        let after = Inventory::take(self.network.node(), &addresses)?;
        self.progress.hide();
        let mut table = Table::new(&["on the node", "before", "deployed", "after"]).indent(2);
        for column in 1..=3 {
            table = table.right(column);
        }
        let counts = self
            .before
            .counts()
            .zip(deployed.counts())
            .zip(after.counts());
        for (((kind, before), (_, deployed)), (_, after)) in counts {
            table.row([&kind, &before, &deployed, &after]);
        }
        say(format_args!("Removed:\n\n{table}"))?;
        let differences = after.differences(&self.before);
        if differences.is_empty() {
            say("Nothing is left: each list is the same as before.\n")?;
        } else {
            self.wrong = self.wrong.saturating_add(1);
            for difference in differences {
                say(format_args!("  {difference}"))?;
            }
            say("")?;
        }
        let checked = self.checked.saturating_add(1);
        if self.wrong == 0 {
            say(format_args!("All {checked} checks went as they should."))
        } else {
            Err(format!("{} of {checked} checks went wrong", self.wrong).into())
        }
    }

    fn conclude(&mut self, report: &Report) -> Result<(), Failure> {
        self.progress.hide();
        self.wrong = self.wrong.saturating_add(report.wrong());
        self.checked = self.checked.saturating_add(report.checked());
        say(report.text())
    }
}

/// Two protocols, from two machines.
const STEPS_PER_PORT: usize = 4;

/// Deploying it, and two protocols to the outside.
const STEPS_PER_FUNCTION: usize = 3;

/// Making, closing, drawing, removing.
const OTHER_STEPS: usize = 4;

/// Found wherever the demo is started.
const OWN: [&str; 3] = [
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/riklet/workloads/hello-world.json"
    ),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/riklet/workloads/thumbnailer.json"
    ),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/riklet/workloads/geocoder.json"
    ),
];
