//! A CNI plugin: a microVM in the place of a pod, or on a network of its own.
//!
//! It follows the CNI specification 1.1 by environment and standard input;
//! install it as `tapwire` in `/opt/cni/bin`.
//!
//! - Behind others (`bridge`, `ptp`, …, with any IPAM), it takes the pod's
//!   interface over: a TAP in the pod's namespace, on which a guest is under
//!   the pod's addresses and MAC.
//! - Alone (Multus: a secondary network), it makes a routed network for the
//!   guest within the pod's namespace, behind the pod's other interfaces.
//!
//! What the guest must be told is in the result under `guest`, and in a file
//! of `stateDir`. See `config.rs` for what can be configured.
#![expect(clippy::print_stderr, reason = "a program that is run by others")]

mod alone;
mod call;
mod chained;
mod config;
mod failure;
mod guest;
mod ports;
mod rates;
mod results;
mod store;

use std::io::Write;
use std::process::ExitCode;
use std::{fs, io};

use serde_json::{Value, json};
use tapwire::sys::has_net_admin;
use tapwire::{GuestName, Host, Settings};

use call::{Call, Command};
use config::Config;
use failure::{Code, Failure};
use store::Store;

fn main() -> ExitCode {
    let mut input = Vec::new();
    let mut answer = None;
    let outcome = io::Read::read_to_end(&mut io::stdin(), &mut input)
        .map_err(|error| Failure::new(Code::Io, "standard input", &error))
        .and_then(|_| Command::read())
        .and_then(|command| act(command, &input));
    let code = match outcome {
        Ok(Some(value)) => {
            answer = Some(value);
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(failure) => {
            answer = Some(failure.to_json(&config::version_of(&input)));
            ExitCode::FAILURE
        }
    };
    if let Some(answer) = answer
        && let Err(error) = writeln!(io::stdout(), "{answer}")
    {
        eprintln!("standard output: {error}");
        return ExitCode::FAILURE;
    }
    code
}

/// Does what the runtime wants; gives what it is to be told.
fn act(command: Command, input: &[u8]) -> Result<Option<Value>, Failure> {
    if command == Command::Version {
        return Ok(Some(json!({
            "cniVersion": config::version_of(input),
            "supportedVersions": config::VERSIONS,
        })));
    }
    let config = Config::read(input)?;
    match command {
        Command::Add => {
            let call = Call::read(&config)?;
            let mut result = match &config.previous {
                Some(previous) => chained::add(&call, &config, previous)?,
                None => alone::add(&call, &config)?,
            };
            results::put(&mut result, "cniVersion", json!(config.version));
            Ok(Some(result))
        }
        Command::Check => {
            let call = Call::read(&config)?;
            let previous = config.previous.as_ref();
            let previous = previous.ok_or_else(|| {
                Failure::told(Code::Config, "prevResult", "CHECK needs the result of ADD")
            })?;
            if results::is_alone(previous, &call) {
                alone::check(&call, &config)?;
            } else {
                chained::check(&call, &config, previous)?;
            }
            Ok(None)
        }
        Command::Delete => {
            let call = Call::read_for_delete(&config)?;
            alone::delete(&call)?;
            chained::delete(&call, &config)?;
            Store::new(&config).remove(&call.guest)?;
            Ok(None)
        }
        Command::Collect => collect(&config).map(|()| None),
        Command::Status => status(&config).map(|()| None),
        Command::Version => Ok(None),
    }
}

/// Removes what was made for attachments of this network that are none of the
/// valid ones. What is in a pod's namespace goes with it.
fn collect(config: &Config) -> Result<(), Failure> {
    let Some(valid) = &config.valid_attachments else {
        let why = "GC needs cni.dev/valid-attachments";
        return Err(Failure::told(Code::Config, "configuration", why));
    };
    let mut names = Vec::with_capacity(valid.len());
    for one in valid {
        names.push(guest::name(&config.name, &one.container_id, &one.ifname)?);
    }
    let of_network = guest::prefix(&config.name);
    let is_stale = |name: &str| {
        name.starts_with(&of_network) && !names.iter().any(|valid| valid.as_str() == name)
    };
    if let Some(mut host) = Host::find(Settings::new(config.owner.clone()))? {
        let guests = host.guests()?;
        let stale: Vec<&str> = guests
            .iter()
            .map(tapwire::Attachment::name)
            .filter(|name| is_stale(name))
            .collect();
        match host.detach_all(&stale) {
            Err(error) if error.is_not_found() => {}
            detached => detached?,
        }
    }
    let store = Store::new(config);
    for name in store.names()? {
        if is_stale(&name)
            && let Ok(name) = GuestName::new(&name)
        {
            store.remove(&name)?;
        }
    }
    Ok(())
}

/// Whether an ADD has what it needs.
fn status(config: &Config) -> Result<(), Failure> {
    let unavailable =
        |what, why: &dyn std::fmt::Display| Failure::told(Code::Unavailable, what, why);
    match has_net_admin() {
        Ok(true) => {}
        Ok(false) => return Err(unavailable("CAP_NET_ADMIN", &"is missing")),
        Err(error) => return Err(unavailable("CAP_NET_ADMIN", &error)),
    }
    let tun = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    if let Err(error) = tun {
        return Err(unavailable("/dev/net/tun", &error));
    }
    let found = tapwire::nft::Nft::open().and_then(|mut nft| nft.tables());
    if let Err(error) = found {
        return Err(unavailable("nf_tables", &error));
    }
    if let Err(error) = Host::find(Settings::new(config.owner.clone())) {
        return Err(unavailable("the tables of this owner", &error));
    }
    Ok(())
}
