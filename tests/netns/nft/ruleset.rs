//! `testdata/ruleset.nft`, written with the builder.

mod rules;

use ipnet::IpNet;
use tapwire::nft::{
    Batch, Chain, ChainType, Comment, DataType, Family, Hook, Match, Name, Policy, Set, SetFlags,
    Table, ip, meta, numgen, tcp,
};

const IP4: DataType = DataType::IPV4_ADDR;
const IP6: DataType = DataType::IPV6_ADDR;
const PROTO: DataType = DataType::INET_PROTO;
const PORT: DataType = DataType::INET_SERVICE;
const IFNAME: DataType = DataType::IFNAME;
const ETHER: DataType = DataType::ETHER_ADDR;

/// The names of one table, and what is added to it.
pub(super) struct Layout {
    table: Table,
    pub(super) batch: Batch,
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

fn remark(text: &str) -> Comment {
    Comment::new(text).unwrap()
}

fn from_tap() -> Match {
    meta::iifname().starts_with("tw")
}

fn to_tap() -> Match {
    meta::oifname().starts_with("tw")
}

impl Layout {
    pub(super) fn new(name: &str) -> Self {
        let comment = remark(&format!("owner={name} schema=1"));
        let table = Table::new(Family::INET, Name::new(name).unwrap()).comment(comment);
        let mut layout = Self {
            table,
            batch: Batch::new(),
        };
        layout.batch.add(&layout.table);
        layout.sets();
        layout.filters_before_nat();
        layout.nat();
        layout.filters();
        layout.arp();
        layout
    }

    pub(super) fn set(&self, name: &str) -> Set {
        let table = &self.table;
        let name_of = Name::new(name).unwrap();
        let set = |key: &[DataType]| Set::new(table, name_of.clone(), key);
        let map = |key: &[DataType], data: &[DataType]| Set::map(table, name_of.clone(), key, data);
        match name {
            "dnat4" => map(&[IP4, PROTO, PORT], &[IP4, PORT]).counter(),
            "dnat6" => map(&[IP6, PROTO, PORT], &[IP6, PORT]).counter(),
            "dnat4_any" => map(&[PROTO, PORT], &[IP4, PORT]).counter(),
            "dnat6_any" => map(&[PROTO, PORT], &[IP6, PORT]).counter(),
            "dnat4_rng" => map(&[IP4, PROTO, PORT], &[IP4]).interval().counter(),
            "dnat6_rng" => map(&[IP6, PROTO, PORT], &[IP6]).interval().counter(),
            "guard4" => set(&[IFNAME, ETHER, IP4]).counter(),
            "guard6" => set(&[IFNAME, ETHER, IP6]).counter(),
            "self4" | "peer4" => set(&[IP4, IP4]),
            "self6" | "peer6" => set(&[IP6, IP6]),
            "restricted" | "lo_ok" | "host_svc" => set(&[PROTO, PORT]),
            "allow4" => set(&[PROTO, PORT, IP4]).interval(),
            "allow6" => set(&[PROTO, PORT, IP6]).interval(),
            "climit4" => Set::verdict_map(table, name_of, &[IP4, PROTO, PORT]),
            "cl_live4" => set(&[IP4, PROTO, PORT]).dynamic().size(65_536),
            "rate4" => set(&[IP4]).flags(SetFlags::EVAL),
            "clone4" | "inner4" => map(&[IFNAME], &[IP4]),
            "clone6" | "inner6" => map(&[IFNAME], &[IP6]),
            "lb4" | "lbs4" => {
                let key = [meta::l4proto(), tcp::dport(), numgen::incremental(16)];
                Set::map_of(table, name_of, &key, &[ip::daddr(), tcp::dport()]).counter()
            }
            "rx4" | "tx4" => set(&[IP4]).counter(),
            other => panic!("no set {other}"),
        }
    }

    fn sets(&mut self) {
        for name in [
            "dnat4",
            "dnat6",
            "dnat4_any",
            "dnat6_any",
            "dnat4_rng",
            "dnat6_rng",
            "guard4",
            "guard6",
            "self4",
            "self6",
            "peer4",
            "peer6",
            "restricted",
            "allow4",
            "allow6",
            "lo_ok",
            "climit4",
            "cl_live4",
            "rate4",
            "lb4",
            "lbs4",
            "clone4",
            "inner4",
            "clone6",
            "inner6",
            "host_svc",
            "rx4",
            "tx4",
        ] {
            let set = self.set(name);
            self.batch.add(&set);
        }
    }

    fn base(&mut self, chain: &str, kind: ChainType, hook: Hook, priority: i32) -> Chain {
        let chain =
            Chain::base(&self.table, name(chain), kind, hook, priority).policy(Policy::ACCEPT);
        self.batch.add(&chain);
        chain
    }

    fn chain(&mut self, chain: &str) -> Chain {
        let chain = Chain::new(&self.table, name(chain));
        self.batch.add(&chain);
        chain
    }
}
