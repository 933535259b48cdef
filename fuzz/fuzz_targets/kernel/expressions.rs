//! Every expression, its numbers mostly within what the kernel takes.

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use tapwire::nft::expr::{
    Bitwise, BitwiseOp, Byteorder, ByteorderOp, ChecksumType, Cmp, CmpOp, Connlimit, Counter, Ct,
    CtKey, CtSet, Dup, Dynset, DynsetOp, Expr, Exthdr, ExthdrOp, ExthdrReset, ExthdrSet, Fib,
    FibResult, Fwd, Hash, HashType, Immediate, Last, Limit, LimitType, Log, LogLevel, Lookup,
    Masquerade, Meta, MetaKey, MetaSet, Nat, NatType, Numgen, NumgenType, Objref, Osf, Payload,
    PayloadBase, PayloadSet, Queue, Quota, Range, RangeOp, Redirect, Reject, RejectType, Rt, RtKey,
    Socket, SocketKey, Synproxy, Tproxy, Tunnel, TunnelKey, TunnelMode, Xfrm, XfrmKey,
};
use tapwire::nft::{Data, Family, Name, Register, Verdict};

pub(crate) static CHAINS: [Name; 2] = [Name::constant("c0"), Name::constant("c1")];
pub(crate) static SETS: [Name; 3] = [
    Name::constant("s0"),
    Name::constant("s1"),
    Name::constant("s2"),
];
pub(crate) static OBJECTS: [Name; 2] = [Name::constant("o0"), Name::constant("o1")];

/// An expression by its number and what it may need.
#[derive(Arbitrary, Debug)]
pub(crate) struct Step {
    kind: u8,
    from: u8,
    to: u8,
    key: u8,
    length: u8,
    offset: u8,
    flags: u8,
    number: u32,
    more: Option<u8>,
    last: Option<u8>,
    bytes: [u8; 16],
}

/// Fills all registers, so that any of them may be read.
pub(crate) fn full() -> impl Iterator<Item = Expr> {
    (0..16).step_by(4).map(|slot| {
        let to = Register::slot(slot).unwrap();
        Immediate::new(to, Data::from_bytes(&[1; 16]).unwrap().into()).into()
    })
}

pub(crate) fn pick<T: Clone>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()].clone()
}

pub(crate) fn verdict(number: u8) -> Verdict {
    match number % 6 {
        0 => Verdict::Accept,
        1 => Verdict::Drop,
        2 => Verdict::Continue,
        3 => Verdict::Return,
        4 => Verdict::Jump(CHAINS[1].clone()),
        _ => Verdict::Goto(CHAINS[1].clone()),
    }
}

impl Step {
    pub(crate) fn expression(&self) -> Expr {
        match self.kind % 46 {
            0..=13 => self.loads(),
            14..=24 => self.computes(),
            25..=34 => self.decides(),
            _ => self.acts(),
        }
    }

    fn loads(&self) -> Expr {
        let (to, key, length) = (self.to(), u32::from(self.key), self.length());
        let offset = u32::from(self.offset);
        match self.kind % 46 {
            0 => Payload::new(to, PayloadBase::from_raw(key % 5), offset, length).into(),
            1 => Meta::new(to, MetaKey::from_raw(key % 40)).into(),
            2 => {
                let ct = Ct::new(to, CtKey::from_raw(key % 25));
                match self.more {
                    Some(direction) => ct.with_direction(direction % 2).into(),
                    None => ct.into(),
                }
            }
            3 => Fib::new(to, FibResult::from_raw(key % 4), u32::from(self.flags) % 64).into(),
            4 => Numgen::new(to, self.number % 1000, NumgenType::from_raw(key % 2))
                .with_offset(offset)
                .into(),
            5 => self.hash(),
            6 => Exthdr::new(to, self.key, offset, length)
                .with_op(ExthdrOp::from_raw(self.number % 5))
                .with_flags(u32::from(self.flags % 2))
                .into(),
            7 => Rt::new(to, RtKey::from_raw(key % 5)).into(),
            8 => {
                let socket = Socket::new(to, SocketKey::from_raw(key % 4));
                match self.more {
                    Some(level) => socket.with_level(u32::from(level)).into(),
                    None => socket.into(),
                }
            }
            9 => Osf::new(to)
                .with_ttl(self.key % 4)
                .with_flags(u32::from(self.flags % 2))
                .into(),
            10 => Xfrm::new(to, XfrmKey::from_raw(key % 7), self.flags % 3)
                .with_number(offset % 8)
                .into(),
            11 => Tunnel::new(to, TunnelKey::from_raw(key % 3))
                .with_mode(TunnelMode::from_raw(offset % 4))
                .into(),
            12 => Meta::new(to, pick(&[MetaKey::L4PROTO, MetaKey::NFPROTO], self.key)).into(),
            _ => Immediate::new(to, self.data(self.length).into()).into(),
        }
    }

    fn hash(&self) -> Expr {
        let hash = Hash::new(self.to(), self.number % 1000).with_offset(self.offset.into());
        if self.flags % 2 == 1 {
            return hash.with_kind(HashType::SYMMETRIC).into();
        }
        let hash = hash.with_from(self.from()).with_length(self.length());
        match self.more {
            Some(seed) => hash.with_seed(seed.into()).into(),
            None => hash.into(),
        }
    }

    fn computes(&self) -> Expr {
        let (from, to) = (self.from(), self.to());
        let data = self.data(self.length);
        match self.kind % 46 {
            14 | 15 => Cmp::new(from, CmpOp::from_raw(u32::from(self.key % 6)), data).into(),
            16 => {
                let (low, high) = (self.data(self.length), self.above(self.length));
                Range::new(from, RangeOp::from_raw(u32::from(self.key % 2)), low, high).into()
            }
            17 => Bitwise::new(from, to, self.length())
                .with_mask(data)
                .with_xor(self.above(self.length))
                .into(),
            18 => Bitwise::new(from, to, self.length())
                .with_op(pick(&[BitwiseOp::LSHIFT, BitwiseOp::RSHIFT], self.key))
                .with_data(Data::from_bytes(&(self.number % 32).to_ne_bytes()).unwrap())
                .into(),
            19 => Bitwise::new(from, to, self.length())
                .with_op(pick(
                    &[BitwiseOp::AND, BitwiseOp::OR, BitwiseOp::XOR],
                    self.key,
                ))
                .with_second(register(self.offset))
                .into(),
            20 => {
                let op = pick(&[ByteorderOp::NTOH, ByteorderOp::HTON], self.key);
                let size = pick(&[2, 4, 8], self.flags);
                Byteorder::new(from, to, op, self.length(), size).into()
            }
            21 => PayloadSet::new(
                from,
                PayloadBase::from_raw(u32::from(self.key % 4)),
                self.offset.into(),
                self.length(),
            )
            .with_checksum(ChecksumType::from_raw(self.number % 3))
            .with_checksum_offset(self.more.unwrap_or_default().into())
            .with_checksum_flags(u32::from(self.flags % 2))
            .into(),
            22 => MetaSet::new(from, MetaKey::from_raw(u32::from(self.key % 40))).into(),
            23 => {
                let set = CtSet::new(from, CtKey::from_raw(u32::from(self.key % 25)));
                match self.more {
                    Some(direction) => set.with_direction(direction % 2).into(),
                    None => set.into(),
                }
            }
            _ if self.flags % 2 == 1 => ExthdrReset::new(self.key, ExthdrOp::TCP_OPTION).into(),
            _ => ExthdrSet::new(
                from,
                self.key,
                self.offset.into(),
                pick(&[2, 4], self.length),
                ExthdrOp::TCP_OPTION,
            )
            .into(),
        }
    }

    fn decides(&self) -> Expr {
        let flags = u32::from(self.flags % 2);
        match self.kind % 46 {
            25 => Immediate::new(Register::VERDICT, verdict(self.key).into()).into(),
            26 => {
                let lookup = Lookup::new(pick(&SETS, self.key), self.from()).with_flags(flags);
                match self.more {
                    Some(to) => lookup.with_to(register(to)).into(),
                    None => lookup.into(),
                }
            }
            27 => Lookup::new(pick(&SETS, self.key), self.from())
                .with_to(Register::VERDICT)
                .into(),
            28 => self.dynset(),
            29 => {
                let kind = 1 + u32::from(self.flags % 6);
                Objref::new()
                    .with_kind(kind)
                    .with_object(pick(&OBJECTS, self.key))
                    .into()
            }
            30 => Counter::new()
                .with_packets(self.number.into())
                .with_bytes(self.key.into())
                .into(),
            31 => Quota::new(self.number.into())
                .with_flags(flags)
                .with_consumed(self.key.into())
                .into(),
            32 => Last::new().into(),
            33 => {
                let limit = Limit::new(self.number.into(), self.key.into()).with_flags(flags);
                let limit = limit.with_kind(LimitType::from_raw(u32::from(self.length % 2)));
                limit.with_burst(self.offset.into()).into()
            }
            _ => Connlimit::new(self.number).with_flags(flags).into(),
        }
    }

    fn dynset(&self) -> Expr {
        let op = DynsetOp::from_raw(u32::from(self.offset % 3));
        let mut dynset = Dynset::new(pick(&SETS, self.key), op, self.from());
        if let Some(data) = self.more {
            dynset = dynset.with_data(register(data));
        }
        if let Some(seconds) = self.last {
            dynset = dynset.with_timeout((u64::from(seconds) + 1) * 1000);
        }
        match self.flags % 4 {
            0 => dynset
                .with_expression(Box::new(Counter::new().into()))
                .into(),
            1 => dynset.with_expression(Box::new(Last::new().into())).into(),
            _ => dynset.into(),
        }
    }

    fn acts(&self) -> Expr {
        let family = pick(&[Family::IP, Family::IP6], self.key);
        let register = |number: Option<u8>| number.map(register);
        match self.kind % 46 {
            35 => {
                let kind = NatType::from_raw(u32::from(self.offset % 2));
                let mut nat = Nat::new(kind, family).with_flags(u32::from(self.flags) & 0x7c);
                nat = nat.with_address(self.from());
                if let Some(port) = register(self.more) {
                    nat = nat.with_port(port);
                }
                match register(self.last) {
                    Some(last) => nat.with_address_max(last).into(),
                    None => nat.into(),
                }
            }
            36 => {
                let mut masquerade = Masquerade::new().with_flags(u32::from(self.flags) & 0x1c);
                if let Some(port) = register(self.more) {
                    masquerade = masquerade.with_port(port);
                }
                masquerade.into()
            }
            37 => {
                let mut redirect = Redirect::new().with_flags(u32::from(self.flags) & 0x1c);
                if let Some(port) = register(self.more) {
                    redirect = redirect.with_port(port);
                }
                redirect.into()
            }
            38 => {
                let kind = pick(&[RejectType::ICMP, RejectType::ICMPX], self.key);
                match self.more {
                    Some(code) => Reject::new(kind).with_code(code % 4).into(),
                    None => Reject::new(RejectType::TCP_RESET).into(),
                }
            }
            39 => self.log(),
            40 => Queue::new()
                .with_number(self.offset.into())
                .with_total(u16::from(self.length) + 1)
                .with_flags(u16::from(self.flags % 4))
                .into(),
            41 => {
                let tproxy = Tproxy::new(family).with_port(self.from());
                match register(self.more) {
                    Some(address) => tproxy.with_address(address).into(),
                    None => tproxy.into(),
                }
            }
            42 => Dup::new().with_address(self.from()).into(),
            43 => Fwd::new(self.from()).into(),
            44 => Synproxy::new()
                .with_mss(self.offset.into())
                .with_window_scale(self.length % 15)
                .with_flags(u32::from(self.flags))
                .into(),
            _ => Expr::Notrack,
        }
    }

    fn log(&self) -> Expr {
        let mut log = Log::new();
        if let Some(prefix) = self.last {
            log = log.with_prefix(format!("fuzz {prefix}").into());
        }
        if let Some(group) = self.more {
            log = log.with_group(group.into());
            if self.flags % 2 == 1 {
                log = log.with_snaplen(self.number);
            }
            return log.with_queue_threshold(self.offset.into()).into();
        }
        log.with_level(LogLevel::from_raw(u32::from(self.key % 9)))
            .with_flags(u32::from(self.flags % 64))
            .into()
    }

    fn from(&self) -> Register {
        register(self.from)
    }

    fn to(&self) -> Register {
        register(self.to)
    }

    fn length(&self) -> u32 {
        u32::from(self.length % 16) + 1
    }

    fn data(&self, length: u8) -> Data {
        Data::from_bytes(&self.bytes[..=usize::from(length % 16)]).unwrap()
    }

    /// No less than [`data`](Self::data).
    fn above(&self, length: u8) -> Data {
        let bytes = self.bytes.map(|byte| byte | 0x0f);
        Data::from_bytes(&bytes[..=usize::from(length % 16)]).unwrap()
    }
}

fn register(number: u8) -> Register {
    Register::slot(u32::from(number % 16)).unwrap()
}
