//! Flowtables: the short way for the packets of established flows.

use crate::types::IfName;
use crate::wire::uapi::netfilter::NF_NETDEV_INGRESS;
use crate::wire::uapi::nf_tables_obj::{
    NFT_FLOWTABLE_COUNTER, NFT_FLOWTABLE_HW_OFFLOAD, NFTA_FLOWTABLE_FLAGS, NFTA_FLOWTABLE_HANDLE,
    NFTA_FLOWTABLE_HOOK, NFTA_FLOWTABLE_HOOK_DEVS, NFTA_FLOWTABLE_HOOK_NUM,
    NFTA_FLOWTABLE_HOOK_PRIORITY, NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_USE,
};
use crate::wire::{Attrs, DecodeError, Fields, Message, Writer};

use super::chain::Hook;
use super::device::Device;
use super::header;
use super::{Family, Name, Table};

bitflags::bitflags! {
    /// The flags of a flowtable (`enum nft_flowtable_flags`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FlowtableFlags: u32 {
        /// The network card carries its flows.
        const HW_OFFLOAD = NFT_FLOWTABLE_HW_OFFLOAD;
        /// Its flows are counted.
        const COUNTER = NFT_FLOWTABLE_COUNTER;
    }
}

/// A flowtable: flows that rules put into it pass between its devices without
/// the rest of the rules.
///
/// ```
/// use tapwire::nft::{Batch, Family, Flowtable, Name, Table, priority};
/// let table = Table::new(Family::INET, Name::constant("riklet"));
/// let fast = Flowtable::new(&table, Name::constant("fast"), priority::FILTER)
///     .device("eth0".parse()?)
///     .counter();
/// let mut batch = Batch::new();
/// batch.add(&fast);
/// assert_eq!(batch.to_string(), "add flowtable inet riklet fast\n");
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flowtable {
    family: Family,
    table: Name,
    name: Name,
    hook: Hook,
    priority: i32,
    devices: Vec<Device>,
    flags: FlowtableFlags,
    handle: Option<u64>,
    uses: Option<u32>,
}

impl Flowtable {
    /// A flowtable of `table` that its devices' packets enter at the ingress
    /// hook, lower priorities first.
    pub fn new(table: &Table, name: Name, priority: i32) -> Self {
        Self {
            family: table.family(),
            table: table.name().clone(),
            name,
            hook: Hook::from_raw(NF_NETDEV_INGRESS),
            priority,
            devices: Vec::new(),
            flags: FlowtableFlags::empty(),
            handle: None,
            uses: None,
        }
    }

    /// With one more device.
    #[must_use]
    pub fn device(mut self, name: IfName) -> Self {
        self.devices.push(Device::named(&name));
        self
    }

    /// With a counter of its flows' packets.
    #[must_use]
    pub fn counter(self) -> Self {
        self.flags(FlowtableFlags::COUNTER)
    }

    /// With these flags besides those that it has.
    #[must_use]
    pub fn flags(mut self, flags: FlowtableFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// As the flowtable of this number, to be deleted by it
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

    /// The hook and the priority.
    pub const fn hook(&self) -> (Hook, i32) {
        (self.hook, self.priority)
    }

    /// Its devices; one that ends with `*` stands for all whose names begin
    /// alike.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(Device::as_str)
    }

    /// Its flags.
    pub const fn current_flags(&self) -> FlowtableFlags {
        self.flags
    }

    /// The kernel's number of it, if it was listed.
    pub const fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// How many rules use it, if it was listed.
    pub const fn uses(&self) -> Option<u32> {
        self.uses
    }

    /// Whether `other` is the same flowtable, whatever only a listing tells:
    /// its handle, and how much uses it.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |flowtable: &Self| Self {
            handle: None,
            uses: None,
            ..flowtable.clone()
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
        out.put(NFTA_FLOWTABLE_TABLE, self.table.as_str());
        out.put(NFTA_FLOWTABLE_NAME, self.name.as_str());
    }

    /// Its key, and the number that counts instead of the name.
    pub(crate) fn encode_handle(&self, handle: u64, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_FLOWTABLE_HANDLE, handle);
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.nest(NFTA_FLOWTABLE_HOOK, |out| {
            out.put(NFTA_FLOWTABLE_HOOK_NUM, self.hook.as_raw());
            out.put(NFTA_FLOWTABLE_HOOK_PRIORITY, self.priority);
            if !self.devices.is_empty() {
                out.nest(NFTA_FLOWTABLE_HOOK_DEVS, |out| {
                    for device in &self.devices {
                        device.put(out);
                    }
                });
            }
        });
        if !self.flags.is_empty() {
            out.put(NFTA_FLOWTABLE_FLAGS, self.flags.bits());
        }
    }

    /// Reads `NFT_MSG_NEWFLOWTABLE`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<8>::read(attrs)?;
        let table = Table::new(family, header::name(&fields, NFTA_FLOWTABLE_TABLE)?);
        let name = header::name(&fields, NFTA_FLOWTABLE_NAME)?;
        let mut flowtable = Self::new(&table, name, 0);
        let hook = fields.get(NFTA_FLOWTABLE_HOOK)?.unwrap_or(Attrs::new(&[]));
        let hook = Fields::<4>::read(hook)?;
        if let Some(number) = hook.get(NFTA_FLOWTABLE_HOOK_NUM)? {
            flowtable.hook = Hook::from_raw(number);
        }
        flowtable.priority = hook.get(NFTA_FLOWTABLE_HOOK_PRIORITY)?.unwrap_or_default();
        let devices = hook.get(NFTA_FLOWTABLE_HOOK_DEVS)?;
        flowtable.devices = Device::read(devices.unwrap_or(Attrs::new(&[])))?;
        let flags = fields.get(NFTA_FLOWTABLE_FLAGS)?.unwrap_or_default();
        flowtable.flags = FlowtableFlags::from_bits_retain(flags);
        flowtable.handle = fields.get(NFTA_FLOWTABLE_HANDLE)?;
        flowtable.uses = fields.get(NFTA_FLOWTABLE_USE)?;
        Ok(flowtable)
    }
}
