//! What callers rely on without writing it down: handles move between
//! threads, values are shared among them.

use tapwire::bridged::{BridgePlan, Bridged, PodInterface};
use tapwire::conn::{Connection, Exchange, Requests};
use tapwire::conntrack::{Flow, FlowFilter};
use tapwire::dhcp::{Responder, ResponderCounters};
use tapwire::error::{Passing, Winner};
use tapwire::guest::GuestConfig;
use tapwire::interfaces::{
    AttachedInterface, Device, Interface, Interfaces, InterfacesPlan, Method,
};
use tapwire::masqueraded::{Masquerade, MasqueradePlan, Masqueraded, Mesh};
use tapwire::nft::{
    self, Batch, Chain, Element, Event, Flowtable, NamedObject, Nft, Rule, Set, Snapshot, Table,
};
use tapwire::passthrough::{MacvtapOptions, PciAddress, VhostNet, VirtualFunctions};
use tapwire::redirected::{RedirectPlan, Redirected};
use tapwire::route::tc::{Filter, Qdisc};
use tapwire::route::{Address, Link, Neighbour, Route, RoutingRule, Rtnl, VirtualFunction, Watch};
use tapwire::route::{BridgeOptions, BridgePort, FdbEntry, PortOptions, PortVlan};
use tapwire::segment::{Overlay, Port, Segment, TapPort};
use tapwire::sys::{Macvtap, NetNs, Offload, Socket, Tap, TapOptions};
use tapwire::{
    Attachment, Conflict, Elsewhere, Error, Exposed, Exposure, Guest, Host, IfIndex, IfName, Mac,
    Networks, Owner, Pool, PoolCounts, PoolError, PoolSettings, Proxied, ProxiedCounters,
    ProxiedHandle, ProxiedNotice, ProxiedSettings, Relay, RelayCounters, RelaySettings, Settings,
    Topology,
};

const fn handle<T: Send + 'static>() {}
const fn value<T: Send + Sync + Clone + 'static>() {}

const fn shared<T: Send + Sync + 'static>() {}

const _: () = {
    shared::<Pool>();
    handle::<Host>();
    handle::<Nft>();
    handle::<nft::Watch>();
    handle::<Rtnl>();
    handle::<Watch>();
    handle::<Connection>();
    handle::<Socket>();
    handle::<Proxied>();
    handle::<Relay>();
    handle::<Responder>();
    handle::<Tap>();
    handle::<Macvtap>();
    handle::<VhostNet>();
    handle::<NetNs>();
    handle::<Error>();
    value::<Attachment>();
    value::<Conflict>();
    value::<Passing>();
    value::<Winner>();
    value::<BridgePlan>();
    value::<Bridged>();
    value::<PodInterface>();
    value::<RedirectPlan>();
    value::<Redirected>();
    value::<GuestConfig>();
    value::<ResponderCounters>();
    value::<Elsewhere>();
    value::<Exposed>();
    value::<Exposure>();
    value::<Guest>();
    value::<IfIndex>();
    value::<IfName>();
    value::<AttachedInterface>();
    value::<Device>();
    value::<Interface>();
    value::<Interfaces>();
    value::<InterfacesPlan>();
    value::<Method>();
    value::<Mac>();
    value::<Masquerade>();
    value::<MasqueradePlan>();
    value::<Masqueraded>();
    value::<Mesh>();
    value::<Networks>();
    value::<Owner>();
    value::<PoolCounts>();
    value::<PoolError>();
    value::<PoolSettings>();
    value::<ProxiedCounters>();
    value::<ProxiedHandle>();
    value::<ProxiedNotice>();
    value::<ProxiedSettings>();
    value::<RelayCounters>();
    value::<RelaySettings>();
    value::<Settings>();
    value::<Topology>();
    value::<TapOptions>();
    value::<Batch>();
    value::<Chain>();
    value::<Element>();
    value::<Event>();
    value::<Flowtable>();
    value::<NamedObject>();
    value::<Snapshot>();
    value::<Rule>();
    value::<Set>();
    value::<Table>();
    value::<Address>();
    value::<Link>();
    value::<Neighbour>();
    value::<Route>();
    value::<RoutingRule>();
    value::<Qdisc>();
    value::<BridgeOptions>();
    value::<BridgePort>();
    value::<FdbEntry>();
    value::<PortOptions>();
    value::<PortVlan>();
    value::<Segment>();
    value::<Overlay>();
    value::<Port>();
    value::<TapPort>();
    value::<VirtualFunction>();
    value::<VirtualFunctions>();
    value::<PciAddress>();
    value::<MacvtapOptions>();
    value::<Offload>();
    value::<Filter>();
    value::<Flow>();
    value::<FlowFilter>();
    value::<Exchange>();
    value::<Requests>();
};

#[test]
fn error_stays_small_and_leads_to_its_source() {
    assert!(size_of::<Error>() <= 128);
    let error: Error = "a-name-of-16-byt".parse::<IfName>().unwrap_err().into();
    assert!(std::error::Error::source(&error).is_none());
}
