//! Statements that do something with the packet.

use super::binary;
use super::fields;
use super::kind::{Kind, duration, id};
use super::nat;
use super::node::{Bits, Node, Run, Source};
use super::options;
use super::protocols::{Network, Protocols};
use super::rule::Reader;
use super::stateful;
use crate::nft::expr::{
    Dynset, DynsetOp, Expr, ExthdrOp, Log, LogLevel, Objref, PayloadSet, Queue, Reject, RejectType,
    Synproxy,
};
use crate::nft::{Family, ObjectType, SetFlags};

/// Appends what `expression` does; `None` if it has no text.
pub(super) fn act(reader: &mut Reader<'_>, expression: &Expr) -> Option<()> {
    let text = match expression {
        Expr::Counter(_) | Expr::Quota(_) | Expr::Last(_) | Expr::Limit(_) | Expr::Connlimit(_) => {
            stateful::text(expression, reader.scope)
        }
        Expr::MetaSet(set) => {
            let (name, kind) = fields::meta(*set.key())?;
            let node = reader.read(*set.from(), kind.bytes())?;
            format!("{name} set {}", reader.stored(&node, kind)?)
        }
        Expr::CtSet(set) => {
            let family = reader.scope.family;
            let (name, kind) =
                fields::ct_key(set.key().as_raw(), set.direction().copied(), family)?;
            let node = reader.read(*set.from(), kind.bytes())?;
            let mut value = reader.stored(&node, kind)?;
            if matches!(node, Node::Constant(_)) {
                value = value.replace(" | ", ",");
            }
            format!("{name} set {value}")
        }
        Expr::PayloadSet(set) => return store(reader, set),
        Expr::ExthdrSet(set) => {
            let bits = Bits {
                source: Source::Option(*set.op(), *set.option()),
                offset: set.offset().checked_mul(8)?,
                width: set.length().checked_mul(8)?,
            };
            let found = bits.field(&reader.protocols)?;
            let node = reader.read(*set.from(), *set.length())?;
            let value = reader.stored(&node, found.field.kind)?;
            format!("{} set {value}", found.text())
        }
        Expr::ExthdrReset(reset) if *reset.op() == ExthdrOp::TCP_OPTION => {
            match options::find(*reset.op(), *reset.option()).next() {
                Some(option) => format!("reset {}", option.name),
                None => format!("reset tcp option {}", reset.option()),
            }
        }
        Expr::Nat(nat) => nat::nat(reader, nat)?,
        Expr::Masquerade(masquerade) => nat::masquerade(reader, masquerade)?,
        Expr::Redirect(redirect) => nat::redirect(reader, redirect)?,
        Expr::Tproxy(tproxy) => nat::tproxy(reader, tproxy)?,
        Expr::Dup(dup) => nat::dup(reader, dup)?,
        Expr::Fwd(fwd) => nat::fwd(reader, fwd)?,
        Expr::Reject(reject) => return refuse(reader, reject),
        Expr::Log(log) => log_text(log)?,
        Expr::Queue(queue) => queue_text(reader, queue)?,
        Expr::FlowOffload(flow) => format!("flow add @{}", flow.flowtable()),
        Expr::Synproxy(proxy) => synproxy(proxy),
        Expr::Notrack => "notrack".to_owned(),
        Expr::Dynset(dynset) => dynamic(reader, dynset)?,
        Expr::Objref(object) => named(reader, object)?,
        _ => return None,
    };
    reader.act(text);
    Some(())
}

fn store(reader: &mut Reader<'_>, set: &PayloadSet) -> Option<()> {
    let bits = Bits {
        source: Source::Header(*set.base()),
        offset: set.offset().checked_mul(8)?,
        width: set.length().checked_mul(8)?,
    };
    let node = reader.read(*set.from(), *set.length())?;
    if let Node::Masked { of, mask, xor } = &node
        && matches!(of.as_ref(), Node::Packet(own) if *own == bits)
    {
        let kept: Vec<u8> = mask.iter().map(|byte| !byte).collect();
        let part = Run::of(&kept).and_then(|run| {
            let found = bits.under(run).field(&reader.protocols)?;
            let number = Kind::network(id::RAW, bits.width).number(xor)?;
            let outside = mask.iter().zip(xor).any(|(mask, xor)| mask & xor != 0);
            let value = found.field.kind.of_number(number.checked_shr(run.behind)?);
            (!outside).then_some((found, value))
        });
        let text = if let Some((found, value)) = part {
            reader.used(found);
            format!("{} set {value}", found.text())
        } else {
            let left = reader.show(of)?;
            let text = left.text.clone();
            format!("{text} set {}", binary::masked(left, mask, xor)?.text)
        };
        reader.act(text);
        return Some(());
    }
    let (text, kind) = match bits.field(&reader.protocols) {
        Some(found) => {
            reader.used(found);
            (found.text(), found.field.kind)
        }
        None => (bits.raw(), Kind::network(id::RAW, bits.width)),
    };
    let value = reader.stored(&node, kind)?;
    reader.act(format!("{text} set {value}"));
    Some(())
}

fn refuse(reader: &mut Reader<'_>, reject: &Reject) -> Option<()> {
    let code = || reject.code().copied().map(u128::from);
    let name = |kind: u32, number: u128| Kind::host(kind, 8).of_number(number);
    let text = match *reject.kind() {
        RejectType::TCP_RESET => {
            reader.leave_out(Protocols::reset_implies);
            "reject with tcp reset".to_owned()
        }
        RejectType::ICMPX => match code()? {
            ICMPX_PORT => "reject".to_owned(),
            code => format!("reject with icmpx {}", name(id::ICMPX_CODE, code)),
        },
        RejectType::ICMP => {
            let (word, kind, usual) = match reader.protocols.network()? {
                Network::Ip => ("icmp", id::ICMP_CODE, ICMP_PORT),
                Network::Ip6 => ("icmpv6", id::ICMPV6_CODE, ICMPV6_PORT),
                Network::Arp => return None,
            };
            reader.leave_out(Protocols::reject_implies);
            let single = matches!(reader.scope.family, Family::IP | Family::IP6);
            match code()? {
                code if single && code == usual => "reject".to_owned(),
                code => format!("reject with {word} {}", name(kind, code)),
            }
        }
        _ => return None,
    };
    reader.act(text);
    Some(())
}

fn log_text(log: &Log) -> Option<String> {
    let mut text = "log".to_owned();
    if let Some(prefix) = log.prefix() {
        push!(text, " prefix \"{prefix}\"");
    }
    if let Some(group) = log.group() {
        push!(text, " group {group}");
    }
    if let Some(snaplen) = log.snaplen() {
        push!(text, " snaplen {snaplen}");
    }
    if let Some(threshold) = log.queue_threshold() {
        push!(text, " queue-threshold {threshold}");
    }
    match log.level() {
        None | Some(&LogLevel::WARNING) => {}
        Some(level) => push!(text, " level {level}"),
    }
    let flags = *log.flags();
    if flags & !LOG_ALL != 0 {
        return None;
    }
    if flags == LOG_ALL {
        text.push_str(" flags all");
        return Some(text);
    }
    for (bits, words) in [
        (LOG_TCP_SEQUENCE, " flags tcp sequence"),
        (LOG_TCP_OPTIONS, " flags tcp options"),
        (
            LOG_TCP_SEQUENCE | LOG_TCP_OPTIONS,
            " flags tcp sequence,options",
        ),
    ] {
        if flags & (LOG_TCP_SEQUENCE | LOG_TCP_OPTIONS) == bits {
            text.push_str(words);
        }
    }
    for (bit, words) in [
        (LOG_IP_OPTIONS, " flags ip options"),
        (LOG_UID, " flags skuid"),
        (LOG_MAC, " flags ether"),
    ] {
        if flags & bit != 0 {
            text.push_str(words);
        }
    }
    Some(text)
}

fn queue_text(reader: &mut Reader<'_>, queue: &Queue) -> Option<String> {
    let mut text = "queue".to_owned();
    match *queue.flags() {
        0 => {}
        1 => text.push_str(" flags bypass"),
        2 => text.push_str(" flags fanout"),
        3 => text.push_str(" flags bypass,fanout"),
        _ => return None,
    }
    if let Some(from) = queue.from() {
        let node = reader.read(*from, 2)?;
        let shown = reader.stored(&node, Kind::host(id::INTEGER, 16))?;
        push!(text, " to {shown}");
        return Some(text);
    }
    let first = queue.number().copied().unwrap_or_default();
    let last = first.checked_add(queue.total().copied().unwrap_or(1).saturating_sub(1))?;
    if first == last {
        push!(text, " to {first}");
    } else {
        push!(text, " to {first}-{last}");
    }
    Some(text)
}

pub(super) fn synproxy(proxy: &Synproxy) -> String {
    let mut text = "synproxy".to_owned();
    if proxy.flags() & SYNPROXY_MSS != 0 {
        push!(text, " mss {}", proxy.mss());
    }
    if proxy.flags() & SYNPROXY_WSCALE != 0 {
        push!(text, " wscale {}", proxy.window_scale());
    }
    if proxy.flags() & SYNPROXY_TIMESTAMP != 0 {
        text.push_str(" timestamp");
    }
    if proxy.flags() & SYNPROXY_SACK != 0 {
        text.push_str(" sack-perm");
    }
    text
}

fn dynamic(reader: &mut Reader<'_>, dynset: &Dynset) -> Option<String> {
    let found = reader.scope.find(dynset.set());
    let nodes = match found {
        Some((set, _)) => reader.read_all(*dynset.key(), set.key().length())?,
        None => reader.read_fresh(*dynset.key())?,
    };
    let (mut inside, _) = reader.show_all(&nodes)?;
    if *dynset.timeout() != 0 {
        push!(inside, " timeout {}", duration(*dynset.timeout()));
    }
    let one = dynset.expression().map(AsRef::as_ref);
    for expression in one.into_iter().chain(dynset.expressions()) {
        inside.push(' ');
        inside.push_str(&stateful::text(expression, reader.scope.fresh()));
    }
    if let Some(data) = dynset.data() {
        let kinds = found.map(|(set, _)| super::elements::data_kinds(set));
        let kind = kinds.and_then(|kinds| kinds.first().copied());
        let kind = kind.unwrap_or(Kind::network(id::RAW, 32));
        let node = reader.read(*data, kind.bytes())?;
        push!(inside, " : {}", reader.stored(&node, kind)?);
    }
    let meter = found
        .map(|(set, _)| set)
        .filter(|set| set.current_flags().contains(SetFlags::ANONYMOUS));
    Some(match (meter, *dynset.op()) {
        (Some(set), _) => {
            let size = set
                .capacity()
                .map(|size| format!(" size {size}"))
                .unwrap_or_default();
            format!("meter {}{size} {{ {inside} }}", set.name())
        }
        (None, op @ (DynsetOp::ADD | DynsetOp::UPDATE | DynsetOp::DELETE)) => {
            format!("{op} @{} {{ {inside} }}", dynset.set())
        }
        _ => return None,
    })
}

fn named(reader: &mut Reader<'_>, object: &Objref) -> Option<String> {
    if let (Some(kind), Some(name)) = (object.kind(), object.object()) {
        let words = object_words(ObjectType::from_raw(*kind))?;
        return Some(format!("{words} \"{name}\""));
    }
    let map = object.map()?;
    let (set, _) = reader.scope.find(map)?;
    let words = object_words(set.objects()?)?;
    let nodes = reader.read_all(*object.key()?, set.key().length())?;
    let (key, kinds) = reader.show_all(&nodes)?;
    Some(format!(
        "{words} {key} map {}",
        reader.scope.set(map, &kinds)
    ))
}

/// How a rule says that it uses an object of this kind.
fn object_words(kind: ObjectType) -> Option<&'static str> {
    Some(match kind {
        ObjectType::COUNTER => "counter name",
        ObjectType::QUOTA => "quota name",
        ObjectType::CT_HELPER => "ct helper set",
        ObjectType::LIMIT => "limit name",
        ObjectType::CT_TIMEOUT => "ct timeout set",
        ObjectType::SECMARK => "meta secmark set",
        ObjectType::CT_EXPECTATION => "ct expectation set",
        ObjectType::SYNPROXY => "synproxy name",
        _ => return None,
    })
}

/// Codes that `reject` means by itself: `NFT_REJECT_ICMPX_PORT_UNREACH`,
/// `ICMP_PORT_UNREACH`, `ICMPV6_PORT_UNREACH`.
const ICMPX_PORT: u128 = 1;
const ICMP_PORT: u128 = 3;
const ICMPV6_PORT: u128 = 4;

/// `NF_LOG_*` of `linux/netfilter/nf_log.h`.
const LOG_TCP_SEQUENCE: u32 = 1;
const LOG_TCP_OPTIONS: u32 = 2;
const LOG_IP_OPTIONS: u32 = 4;
const LOG_UID: u32 = 8;
const LOG_MAC: u32 = 0x20;
const LOG_ALL: u32 = 0x2f;

/// `NF_SYNPROXY_OPT_*` of `linux/netfilter/nf_synproxy.h`.
const SYNPROXY_MSS: u32 = 1;
const SYNPROXY_WSCALE: u32 = 2;
const SYNPROXY_SACK: u32 = 4;
const SYNPROXY_TIMESTAMP: u32 = 8;
