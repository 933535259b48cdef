//! Short forms of what rules do besides deciding: log, limit, divert.

use std::net::IpAddr;

use crate::error::Invalid;
use crate::wire::uapi::nf_tables_expr::NFT_LIMIT_F_INV;
use crate::wire::uapi::nf_tables_stmt::NFT_QUEUE_FLAG_BYPASS;

use crate::nft::expr::{
    Dup, Expr, FlowOffload, Immediate, Limit, Log, Objref, Queue, Redirect, Tproxy,
};
use crate::nft::{Comment, Data, Family, Field, Flowtable, NamedObject, Port, Register, Rule, Set};

impl Rule {
    /// Logs the packet in the kernel's log, `prefix` before it.
    pub fn log(self, prefix: &Comment) -> Self {
        self.expression(Log::new().with_prefix(prefix.as_str().into()))
    }

    /// Logs the packet to the listeners of a group, `prefix` before it.
    pub fn log_to(self, group: u16, prefix: &Comment) -> Self {
        let log = Log::new().with_group(group);
        self.expression(log.with_prefix(prefix.as_str().into()))
    }

    /// Goes on for at most `packets` in `seconds`, and `burst` more at once.
    pub fn limit(self, packets: u64, seconds: u64, burst: u32) -> Self {
        self.expression(Limit::new(packets, seconds).with_burst(burst))
    }

    /// Goes on only above `packets` in `seconds`, and `burst` more at once.
    pub fn limit_over(self, packets: u64, seconds: u64, burst: u32) -> Self {
        let limit = Limit::new(packets, seconds).with_burst(burst);
        self.expression(limit.with_flags(NFT_LIMIT_F_INV))
    }

    /// Uses a named object: counts with a counter, goes on within a limit or a
    /// quota, gives the connection a helper.
    pub fn object(mut self, object: &NamedObject) -> Self {
        if *object.table() != self.table || object.family() != self.family {
            let why = "is of another table than the rule";
            self.refuse(Invalid::new("object", object.name(), why));
        }
        let objref = Objref::new().with_kind(object.kind().as_raw());
        self.expression(objref.with_object(object.name().clone()))
    }

    /// Uses the object that `map` holds for the fields, and goes on; ends if
    /// they are not in it.
    pub fn object_from(mut self, fields: &[Field], map: &Set) -> Self {
        if map.objects().is_none() {
            self.refuse(Invalid::new("map", map.name(), "holds no objects"));
        }
        self.load_key(fields, map);
        let objref = Objref::new().with_key(Register::FIRST);
        self.expression(objref.with_map(map.name().clone()))
    }

    /// Leaves the packet without a connection. Only before connections are
    /// looked up: hook prerouting or output, a priority below
    /// [`RAW`](crate::nft::priority::RAW) + 100.
    pub fn notrack(self) -> Self {
        self.expression(Expr::Notrack)
    }

    /// Translates the destination to the host itself; with a port, the packet
    /// must have been found to be TCP or UDP.
    pub fn redirect(mut self, port: Option<Port>) -> Self {
        let mut redirect = Redirect::new();
        if let Some(port) = port {
            self = self.expression(Immediate::new(Register::FIRST, port.into()));
            redirect = redirect.with_port(Register::FIRST);
        }
        self.expression(redirect)
    }

    /// Hands the packet to the socket of this host that has `port`, its
    /// addresses unchanged. The packet must have been found to be TCP or UDP.
    pub fn tproxy(self, family: Family, port: Port) -> Self {
        self.expression(Immediate::new(Register::FIRST, port.into()))
            .expression(Tproxy::new(family).with_port(Register::FIRST))
    }

    /// Hands the packet to the program that listens at this queue; without
    /// one it goes on if `bypass`, else it is gone.
    pub fn queue(self, number: u16, bypass: bool) -> Self {
        let flags = if bypass { NFT_QUEUE_FLAG_BYPASS } else { 0 };
        let queue = Queue::new().with_number(number).with_total(1);
        self.expression(queue.with_flags(flags))
    }

    /// Sends a copy of the packet to `address`.
    pub fn dup(self, address: IpAddr) -> Self {
        self.expression(Immediate::new(Register::FIRST, Data::from(address).into()))
            .expression(Dup::new().with_address(Register::FIRST))
    }

    /// Lets the flow's further packets take the short way of `flowtable`.
    pub fn offload(self, flowtable: &Flowtable) -> Self {
        self.expression(FlowOffload::new(flowtable.name().clone()))
    }
}
