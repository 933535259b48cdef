//! How sets are written and read: `NFTA_SET_*`.

use super::{SetFlags, SetPolicy};
use crate::nft::carried::Carried;
use crate::nft::expr::Expr;
use crate::nft::userdata::{self, Entries};
use crate::nft::{DataType, KeyType, ObjectType, Order, Set, Table, header};
use crate::wire::uapi::nf_tables::{
    NFTA_LIST_ELEM, NFTA_SET_DATA_LEN, NFTA_SET_DATA_TYPE, NFTA_SET_DESC, NFTA_SET_DESC_CONCAT,
    NFTA_SET_DESC_SIZE, NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS, NFTA_SET_FIELD_LEN, NFTA_SET_FLAGS,
    NFTA_SET_GC_INTERVAL, NFTA_SET_HANDLE, NFTA_SET_ID, NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE,
    NFTA_SET_NAME, NFTA_SET_OBJ_TYPE, NFTA_SET_POLICY, NFTA_SET_TABLE, NFTA_SET_TIMEOUT,
    NFTA_SET_USERDATA,
};
use crate::wire::{DecodeError, Fields, Message, Writer};

impl Set {
    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        header::put(self.family, out);
        out.put(NFTA_SET_TABLE, self.table.as_str());
        out.put(NFTA_SET_NAME, self.name.as_str());
    }

    /// Its key, and the number that counts instead of the name.
    pub(crate) fn encode_handle(&self, handle: u64, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_SET_HANDLE, handle);
    }

    /// `id` is its number within the batch, which the kernel wants even where
    /// nothing refers to it.
    pub(crate) fn encode(&self, id: u32, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_SET_FLAGS, self.flags.bits());
        out.put(NFTA_SET_KEY_TYPE, self.key.id());
        out.put(NFTA_SET_KEY_LEN, self.key.length());
        if let Some(data) = self.data {
            out.put(NFTA_SET_DATA_TYPE, data.id());
            out.put(NFTA_SET_DATA_LEN, data.length());
        }
        out.put_some(NFTA_SET_OBJ_TYPE, self.object_type.map(ObjectType::as_raw));
        out.put(NFTA_SET_ID, id);
        out.put_some(NFTA_SET_POLICY, self.policy.map(SetPolicy::as_raw));
        if self.size.is_some() || !self.widths.is_empty() {
            out.nest(NFTA_SET_DESC, |out| {
                out.put_some(NFTA_SET_DESC_SIZE, self.size);
                if !self.widths.is_empty() {
                    out.nest(NFTA_SET_DESC_CONCAT, |out| {
                        for width in &self.widths {
                            out.nest(NFTA_LIST_ELEM, |out| out.put(NFTA_SET_FIELD_LEN, *width));
                        }
                    });
                }
            });
        }
        out.put_some(NFTA_SET_TIMEOUT, self.timeout);
        out.put_some(NFTA_SET_GC_INTERVAL, self.gc_interval);
        self.encode_userdata(out);
        match self.expressions.as_slice() {
            [] => {}
            [one] => one.put(NFTA_SET_EXPR, out),
            _ => self.expressions.put(NFTA_SET_EXPRESSIONS, out),
        }
    }

    fn encode_userdata(&self, out: &mut Writer<'_>) {
        let mut entries = Entries::new();
        entries.number(userdata::SET_KEY_ORDER, self.key_order);
        if self.is_map() || self.data_order != 0 {
            entries.number(userdata::SET_DATA_ORDER, self.data_order);
        }
        entries.comment(userdata::SET_COMMENT, self.comment.as_ref());
        entries.raw(&self.userdata);
        entries.put(NFTA_SET_USERDATA, out);
    }

    /// Reads `NFT_MSG_NEWSET`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<19>::read(attrs)?;
        let table = Table::new(family, header::name(&fields, NFTA_SET_TABLE)?);
        let mut set = Self::new(
            &table,
            header::name(&fields, NFTA_SET_NAME)?,
            &[DataType::MARK],
        );
        set.flags = SetFlags::from_bits_retain(fields.get(NFTA_SET_FLAGS)?.unwrap_or_default());
        // Of a set that was deleted, newer kernels tell the name alone.
        set.key = KeyType::from_raw(
            fields.get(NFTA_SET_KEY_TYPE)?.unwrap_or_default(),
            fields.get(NFTA_SET_KEY_LEN)?.unwrap_or_default(),
        );
        if let Some(id) = fields.get(NFTA_SET_DATA_TYPE)? {
            let length = fields.get(NFTA_SET_DATA_LEN)?.unwrap_or_default();
            set.data = Some(KeyType::from_raw(id, length));
        }
        if let Some(desc) = fields.get(NFTA_SET_DESC)? {
            let desc = Fields::<3>::read(desc)?;
            set.size = desc.get(NFTA_SET_DESC_SIZE)?;
            for field in desc.get(NFTA_SET_DESC_CONCAT)?.into_iter().flatten() {
                set.widths.extend(field?.nested().find(NFTA_SET_FIELD_LEN)?);
            }
        }
        set.timeout = fields.get(NFTA_SET_TIMEOUT)?;
        set.gc_interval = fields.get(NFTA_SET_GC_INTERVAL)?;
        set.policy = fields.get(NFTA_SET_POLICY)?.map(SetPolicy::from_raw);
        set.object_type = fields.get(NFTA_SET_OBJ_TYPE)?.map(ObjectType::from_raw);
        if let Some(one) = fields.get(NFTA_SET_EXPR)? {
            set.expressions.push(Expr::decode(one)?);
        }
        for one in fields.get(NFTA_SET_EXPRESSIONS)?.into_iter().flatten() {
            set.expressions.push(Expr::decode(one?.nested())?);
        }
        set.handle = fields.get(NFTA_SET_HANDLE)?;
        set.read_userdata(fields.get(NFTA_SET_USERDATA)?.unwrap_or_default());
        Ok(set)
    }

    fn read_userdata(&mut self, bytes: &[u8]) {
        (self.key_order, self.data_order) = (Order::None.as_raw(), Order::None.as_raw());
        let (comment, rest) = header::comment(bytes, userdata::SET_COMMENT);
        self.comment = comment;
        for (kind, value) in userdata::read(&rest) {
            match (kind, userdata::number(value)) {
                (userdata::SET_KEY_ORDER, Some(order)) => self.key_order = order,
                (userdata::SET_DATA_ORDER, Some(order)) => self.data_order = order,
                _ => {
                    self.userdata
                        .extend([kind, u8::try_from(value.len()).unwrap_or_default()]);
                    self.userdata.extend_from_slice(value);
                }
            }
        }
    }
}
