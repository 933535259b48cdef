//! Programs, forked for each change, and the crates that do that.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ::nftables::batch::Batch;
use ::nftables::expr::{Expression, NamedExpression};
use ::nftables::schema::{Element, NfListObject};
use ::nftables::types::NfFamily;

use crate::{FIRST, PORT, PRESENT, Result, Rival, in_new_namespace, inside, time};

const ELEMENTS: &str = "add table inet rival\n\
    add set inet rival ports { type inet_proto . inet_service; size 65536; }\n";

/// Feeds a program.
pub(crate) fn feed(program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|why| format!("{program} cannot be run: {why}"))?;
    child
        .stdin
        .take()
        .ok_or("no pipe")?
        .write_all(text.as_bytes())?;
    succeeded(program, child.wait()?)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status();
    succeeded(
        program,
        status.map_err(|why| format!("{program} cannot be run: {why}"))?,
    )
}

fn succeeded(program: &str, status: std::process::ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    Err(format!("{program}: {status}").into())
}

fn elements() -> Result<()> {
    let mut text = ELEMENTS.to_owned();
    for port in FIRST..FIRST + PRESENT {
        writeln!(text, "add element inet rival ports {{ tcp . {port} }}")?;
    }
    feed("nft", &["-f", "-"], &text)
}

/// A file that goes with this.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

pub(crate) fn nft() -> Result<Vec<Rival>> {
    let (netns, ()) = in_new_namespace(elements)?;
    let (other, ()) = in_new_namespace(elements)?;
    let element = format!("element inet rival ports {{ tcp . {PORT} }}");
    let file = std::env::temp_dir().join(format!("tapwire-rivals-{}", std::process::id()));
    fs::write(&file, format!("add {element}\n"))?;
    let file = Temporary(file);
    let (add, delete) = (format!("add {element}"), format!("delete {element}"));
    let delete_too = delete.clone();
    let per_change = move || {
        inside(&netns, || {
            let taken = time(|| run("nft", &[&add]))?;
            run("nft", &[&delete])?;
            Ok(taken)
        })
    };
    let from_file = move || {
        inside(&other, || {
            let taken = time(|| run("nft", &["-f", &file.0.to_string_lossy()]))?;
            run("nft", &[&delete_too])?;
            Ok(taken)
        })
    };
    Ok(vec![
        Rival::new("nft forked, an element", 20, per_change),
        Rival::new("nft forked, an element from a file", 20, from_file),
    ])
}

pub(crate) fn nftables() -> Result<Vec<Rival>> {
    let (netns, ()) = in_new_namespace(elements)?;
    let element = || Element {
        family: NfFamily::INet,
        table: "rival".into(),
        name: "ports".into(),
        elem: vec![Expression::Named(NamedExpression::Concat(vec![
            Expression::String("tcp".into()),
            Expression::Number(PORT.into()),
        ]))]
        .into(),
    };
    Ok(vec![Rival::new(
        "nftables (JSON to nft), an element",
        20,
        move || {
            inside(&netns, || {
                let taken = time(|| {
                    let mut batch = Batch::new();
                    batch.add(NfListObject::Element(element()));
                    Ok(::nftables::helper::apply_ruleset(&batch.to_nftables())?)
                })?;
                let mut batch = Batch::new();
                batch.delete(NfListObject::Element(element()));
                ::nftables::helper::apply_ruleset(&batch.to_nftables())?;
                Ok(taken)
            })
        },
    )])
}

/// A chain of 10 000 redirected ports.
fn chain(restore: &'static str) -> Result<tapwire::sys::NetNs> {
    let mut text = "*nat\n".to_owned();
    for port in FIRST..FIRST + PRESENT {
        let rule = rule(port);
        writeln!(text, "-A PREROUTING {rule}")?;
    }
    text.push_str("COMMIT\n");
    Ok(in_new_namespace(|| feed(restore, &["-w"], &text))?.0)
}

fn rule(port: u16) -> String {
    format!("-p tcp -m tcp --dport {port} -j DNAT --to-destination 198.18.0.2:80")
}

fn forked(name: &'static str, program: &'static str, restore: &'static str) -> Result<Rival> {
    let netns = chain(restore)?;
    let rule = rule(PORT);
    Ok(Rival::new(name, 20, move || {
        inside(&netns, || {
            let words = |verb| {
                let mut words = vec!["-w", "-t", "nat", verb, "PREROUTING"];
                words.extend(rule.split(' '));
                words
            };
            let taken = time(|| run(program, &words("-A")))?;
            run(program, &words("-D"))?;
            Ok(taken)
        })
    }))
}

pub(crate) fn iptables_nft() -> Result<Vec<Rival>> {
    let forked = forked(
        "iptables-nft forked, a rule",
        "iptables-nft",
        "iptables-nft-restore",
    )?;
    let netns = chain("iptables-nft-restore")?;
    let rule = rule(PORT);
    let crates = Rival::new(
        "iptables (crate), check and append a rule",
        20,
        move || {
            inside(&netns, || {
                let iptables = ::iptables::new(false).map_err(|why| why.to_string())?;
                let append = || iptables.append_unique("nat", "PREROUTING", &rule);
                let taken = time(|| Ok(append().map_err(|why| why.to_string())?))?;
                iptables
                    .delete("nat", "PREROUTING", &rule)
                    .map_err(|why| why.to_string())?;
                Ok(taken)
            })
        },
    );
    Ok(vec![forked, crates])
}

pub(crate) fn iptables_legacy() -> Result<Vec<Rival>> {
    let name = "iptables-legacy forked, a rule";
    Ok(vec![forked(
        name,
        "iptables-legacy",
        "iptables-legacy-restore",
    )?])
}
