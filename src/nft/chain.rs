//! Chains.

mod base;

pub use base::{ChainType, Hook, Policy, priority};

use crate::wire::uapi::nf_tables::{
    NFT_CHAIN_BINDING, NFT_CHAIN_HW_OFFLOAD, NFTA_CHAIN_COUNTERS, NFTA_CHAIN_FLAGS,
    NFTA_CHAIN_HANDLE, NFTA_CHAIN_HOOK, NFTA_CHAIN_ID, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY,
    NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE, NFTA_CHAIN_USE, NFTA_CHAIN_USERDATA, NFTA_HOOK_DEV,
    NFTA_HOOK_DEVS, NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY,
};
use crate::wire::{Attr, Attrs, DecodeError, Fields, Message, Writer};

use super::device::Device;
use super::expr::Counter;
use super::header;
use super::name::lossy;
use super::userdata::{self, Entries};
use super::{Comment, Counts, Family, Name, Table};

/// A chain of rules: one that a hook enters, or one that rules jump to.
///
/// ```
/// use tapwire::nft::{Chain, ChainType, Family, Hook, Name, Policy, Table, priority};
/// let table = Table::new(Family::INET, Name::constant("riklet"));
/// let base = Chain::base(&table, Name::constant("nat_pre"), ChainType::NAT, Hook::PREROUTING, priority::DSTNAT - 5);
/// let chain = Chain::new(&table, Name::constant("expose"));
/// assert_eq!(base.policy(Policy::ACCEPT).hook().map(|(hook, priority)| (hook, priority)), Some((Hook::PREROUTING, -105)));
/// assert_eq!(chain.hook(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    family: Family,
    table: Name,
    name: Name,
    kind: Option<ChainType>,
    hook: Option<(Hook, i32)>,
    devices: Vec<Device>,
    policy: Option<Policy>,
    counts: Option<Counts>,
    flags: u32,
    comment: Option<Comment>,
    userdata: Vec<u8>,
    handle: Option<u64>,
    uses: Option<u32>,
}

impl Chain {
    /// A chain that rules jump to.
    pub fn new(table: &Table, name: Name) -> Self {
        Self {
            family: table.family(),
            table: table.name().clone(),
            name,
            kind: None,
            hook: None,
            devices: Vec::new(),
            policy: None,
            counts: None,
            flags: 0,
            comment: None,
            userdata: Vec::new(),
            handle: None,
            uses: None,
        }
    }

    /// A chain that packets enter at `hook`, lower priorities first.
    pub fn base(table: &Table, name: Name, kind: ChainType, hook: Hook, priority: i32) -> Self {
        Self {
            kind: Some(kind),
            hook: Some((hook, priority)),
            ..Self::new(table, name)
        }
    }

    /// With the device whose packets a base chain of `netdev` or of the
    /// ingress hook sees; several may be given.
    #[must_use]
    pub fn device(mut self, name: crate::IfName) -> Self {
        self.devices.push(Device::named(&name));
        self
    }

    /// With all devices whose names begin with `prefix`, those to come
    /// included (Linux 6.16).
    #[must_use]
    pub fn device_prefix(mut self, prefix: &crate::IfName) -> Self {
        self.devices.push(Device::prefix(prefix.as_str()));
        self
    }

    /// With what happens to packets at the end of a base chain.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// As the body of one jump, with which it goes: `jump { … }`. Its name
    /// only counts within the batch that adds it, the kernel gives it another.
    /// Its rules must be added before the one that jumps to it.
    #[must_use]
    pub const fn bound(mut self) -> Self {
        self.flags |= NFT_CHAIN_BINDING;
        self
    }

    /// As one whose rules the network card carries out (families `netdev` and
    /// `bridge`).
    #[must_use]
    pub const fn hw_offload(mut self) -> Self {
        self.flags |= NFT_CHAIN_HW_OFFLOAD;
        self
    }

    /// With a counter of the packets that reach the policy.
    #[must_use]
    pub const fn counter(mut self, counts: Counts) -> Self {
        self.counts = Some(counts);
        self
    }

    /// With a comment.
    #[must_use]
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// As the chain of this number, to be deleted by it
    /// ([`Batch::delete_by_handle`](super::Batch::delete_by_handle)).
    #[must_use]
    pub const fn with_handle(mut self, handle: u64) -> Self {
        self.handle = Some(handle);
        self
    }

    /// The family of its table.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Its table.
    pub const fn table(&self) -> &Name {
        &self.table
    }

    /// Its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The type of a base chain.
    pub const fn kind(&self) -> Option<&ChainType> {
        self.kind.as_ref()
    }

    /// The hook and the priority of a base chain.
    pub const fn hook(&self) -> Option<(Hook, i32)> {
        self.hook
    }

    /// The devices of a base chain; one that ends with `*` stands for all
    /// whose names begin alike.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(Device::as_str)
    }

    /// Whether it goes with the one rule that jumps to it.
    pub const fn is_bound(&self) -> bool {
        self.flags & NFT_CHAIN_BINDING != 0
    }

    /// Whether the network card carries out its rules.
    pub const fn is_hw_offloaded(&self) -> bool {
        self.flags & NFT_CHAIN_HW_OFFLOAD != 0
    }

    /// The packets that reached the policy, if they are counted.
    pub const fn counts(&self) -> Option<Counts> {
        self.counts
    }

    /// The policy of a base chain.
    pub const fn current_policy(&self) -> Option<Policy> {
        self.policy
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// The kernel's number of it, if it was listed.
    pub const fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// How many rules it has and how many refer to it, if it was listed.
    pub const fn uses(&self) -> Option<u32> {
        self.uses
    }

    /// Whether `other` is the same chain, whatever only a listing tells: its
    /// handle, how much is in it, and the name of a bound one.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |chain: &Self| Self {
            handle: None,
            uses: None,
            name: if chain.is_bound() {
                Name::unchecked("")
            } else {
                chain.name.clone()
            },
            // A base chain without one is listed with this one.
            policy: chain.policy.or_else(|| chain.hook.map(|_| Policy::ACCEPT)),
            ..chain.clone()
        };
        plain(self) == plain(other)
    }

    pub(crate) fn moved(&self, table: &Name) -> Self {
        Self {
            table: table.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        header::put(self.family, out);
        out.put(NFTA_CHAIN_TABLE, self.table.as_str());
        out.put(NFTA_CHAIN_NAME, self.name.as_str());
    }

    /// Its key, and the number that counts instead of the name.
    pub(crate) fn encode_handle(&self, handle: u64, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_CHAIN_HANDLE, handle);
    }

    /// `id` is the number within the batch of a chain that the kernel names.
    pub(crate) fn encode(&self, id: Option<u32>, out: &mut Writer<'_>) {
        match id {
            None => self.encode_key(out),
            Some(id) => {
                header::put(self.family, out);
                out.put(NFTA_CHAIN_TABLE, self.table.as_str());
                out.put(NFTA_CHAIN_ID, id);
            }
        }
        if let Some((hook, priority)) = self.hook {
            out.nest(NFTA_CHAIN_HOOK, |out| {
                out.put(NFTA_HOOK_HOOKNUM, hook.as_raw());
                out.put(NFTA_HOOK_PRIORITY, priority);
                self.put_devices(out);
            });
        }
        if let Some(policy) = self.policy {
            out.put(NFTA_CHAIN_POLICY, policy.as_raw());
        }
        out.put_some(NFTA_CHAIN_TYPE, self.kind.as_ref().map(ChainType::as_str));
        if self.flags != 0 {
            out.put(NFTA_CHAIN_FLAGS, self.flags);
        }
        if let Some(counts) = self.counts {
            out.nest(NFTA_CHAIN_COUNTERS, |out| counts.encode_fields(out));
        }
        let mut entries = Entries::new();
        entries.comment(userdata::COMMENT, self.comment.as_ref());
        entries.raw(&self.userdata);
        entries.put(NFTA_CHAIN_USERDATA, out);
    }

    fn put_devices(&self, out: &mut Writer<'_>) {
        let alone = match self.devices.as_slice() {
            [] => return,
            [device] => device.name(),
            _ => None,
        };
        match alone {
            Some(name) => out.put(NFTA_HOOK_DEV, name),
            None => out.nest(NFTA_HOOK_DEVS, |out| {
                for device in &self.devices {
                    device.put(out);
                }
            }),
        }
    }

    /// Reads `NFT_MSG_NEWCHAIN`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<13>::read(attrs)?;
        let table = Table::new(family, header::name(&fields, NFTA_CHAIN_TABLE)?);
        // A request for a bound chain has none.
        let name = match fields.get(NFTA_CHAIN_ID)? {
            Some(_) => Name::unchecked(""),
            None => header::name(&fields, NFTA_CHAIN_NAME)?,
        };
        let mut chain = Self::new(&table, name);
        if let Some(hook) = fields.get(NFTA_CHAIN_HOOK)? {
            let inside = Fields::<5>::read(hook)?;
            let number = Hook::from_raw(inside.need(NFTA_HOOK_HOOKNUM)?);
            chain.hook = Some((number, inside.need(NFTA_HOOK_PRIORITY)?));
            chain.devices = devices(&inside)?;
        }
        chain.kind = fields.get(NFTA_CHAIN_TYPE)?.map(ChainType::listed);
        chain.policy = fields.get(NFTA_CHAIN_POLICY)?.map(Policy::from_raw);
        if let Some(counters) = fields.get(NFTA_CHAIN_COUNTERS)? {
            chain.counts = Some(Counts::from(&Counter::decode(counters)?));
        }
        // `NFT_CHAIN_BASE` is listed and follows from the hook.
        chain.flags = fields.get(NFTA_CHAIN_FLAGS)?.unwrap_or_default() & !1;
        chain.handle = fields.get(NFTA_CHAIN_HANDLE)?;
        chain.uses = fields.get(NFTA_CHAIN_USE)?;
        let bytes = fields.get(NFTA_CHAIN_USERDATA)?.unwrap_or_default();
        (chain.comment, chain.userdata) = header::comment(bytes, userdata::COMMENT);
        Ok(chain)
    }
}

/// One device is listed in both attributes.
fn devices(hook: &Fields<'_, 5>) -> Result<Vec<Device>, DecodeError> {
    let list = hook.get(NFTA_HOOK_DEVS)?.unwrap_or(Attrs::new(&[]));
    let mut devices = Device::read(list)?;
    if devices.is_empty() {
        let bytes = hook.get(Attr::<crate::wire::Bytes>::new(NFTA_HOOK_DEV.kind()))?;
        devices.extend(bytes.map(|bytes| Device::listed(&lossy(bytes))));
    }
    Ok(devices)
}
