//! Sets of types, and of fields.

use crate::error::Invalid;
use crate::nft::field::Field;
use crate::nft::spelling::spell;
use crate::nft::userdata;
use crate::nft::{DataType, Family, KeyType, Name, ObjectType, Set, SetFlags, Table};

impl Set {
    /// A set whose keys have these fields. A key type that cannot be is
    /// reported when the set is committed.
    pub fn new(table: &Table, name: Name, key: &[DataType]) -> Self {
        let (key, invalid) = split(KeyType::new(key));
        Self {
            family: table.family(),
            table: table.name().clone(),
            name,
            flags: SetFlags::empty(),
            key,
            data: None,
            size: None,
            widths: Vec::new(),
            timeout: None,
            gc_interval: None,
            policy: None,
            object_type: None,
            expressions: Vec::new(),
            comment: None,
            key_order: key.order().as_raw(),
            data_order: 0,
            userdata: Vec::new(),
            handle: None,
            invalid,
        }
    }

    /// A map from keys with these fields to data with these.
    pub fn map(table: &Table, name: Name, key: &[DataType], data: &[DataType]) -> Self {
        let (data, invalid) = split(KeyType::new(data));
        let mut map = Self::new(table, name, key);
        map.flags |= SetFlags::MAP;
        map.data_order = data.order().as_raw();
        map.data = Some(data);
        map.invalid = map.invalid.or(invalid);
        map
    }

    /// A map from keys with these fields to verdicts.
    pub fn verdict_map(table: &Table, name: Name, key: &[DataType]) -> Self {
        Self::map(table, name, key, &[DataType::VERDICT])
    }

    /// A map from keys with these fields to objects of one kind.
    ///
    /// ```
    /// use tapwire::nft::{DataType, Element, Family, Name, ObjectType, Port, Set, Table};
    /// let table = Table::new(Family::INET, Name::constant("riklet"));
    /// let key = [DataType::INET_SERVICE];
    /// let quotas = Set::object_map(&table, Name::constant("quotas"), &key, ObjectType::QUOTA);
    /// let element = Element::new(Port(80)).object(Name::constant("web"));
    /// assert_eq!(quotas.objects(), Some(ObjectType::QUOTA));
    /// # drop(element);
    /// ```
    pub fn object_map(table: &Table, name: Name, key: &[DataType], kind: ObjectType) -> Self {
        let mut map = Self::new(table, name, key);
        map.flags |= SetFlags::OBJECT;
        map.object_type = Some(kind);
        map
    }

    /// A set whose keys are these fields, listed by `nft` with the fields
    /// themselves (`typeof`).
    pub fn of(table: &Table, name: Name, key: &[Field]) -> Self {
        let kinds: Vec<DataType> = key.iter().map(Field::data_type).collect();
        let mut set = Self::new(table, name, &kinds);
        set.spell(userdata::SET_KEY_TYPEOF, key);
        set
    }

    /// A map from keys with these fields to data with these, listed by `nft`
    /// with the fields themselves (`typeof`). It is the way to number slots: a
    /// number without a unit has no type that `nft` could list otherwise.
    ///
    /// ```
    /// use tapwire::nft::{Family, Name, Set, Table, ip, meta, numgen, tcp};
    /// let table = Table::new(Family::INET, Name::constant("riklet"));
    /// let key = [meta::l4proto(), tcp::dport(), numgen::incremental(16)];
    /// let slots = Set::map_of(&table, Name::constant("lb4"), &key, &[ip::daddr(), tcp::dport()]);
    /// assert_eq!(slots.key().to_string(), "inet_proto . inet_service . integer");
    /// ```
    pub fn map_of(table: &Table, name: Name, key: &[Field], data: &[Field]) -> Self {
        let kinds =
            |fields: &[Field]| -> Vec<DataType> { fields.iter().map(Field::data_type).collect() };
        let mut map = Self::map(table, name, &kinds(key), &kinds(data));
        map.spell(userdata::SET_KEY_TYPEOF, key);
        map.spell(userdata::SET_DATA_TYPEOF, data);
        map
    }

    /// Says yes to an entry of what `nft` keeps.
    pub(super) fn mark(&mut self, entry: u8) {
        self.userdata.extend([entry, 4]);
        self.userdata.extend(1_u32.to_ne_bytes());
    }

    pub(super) fn is_marked(&self, entry: u8) -> bool {
        userdata::read(&self.userdata)
            .any(|(kind, value)| kind == entry && userdata::number(value).is_some_and(|on| on != 0))
    }

    fn spell(&mut self, entry: u8, fields: &[Field]) {
        let spelling = spell(fields)
            .and_then(|value| u8::try_from(value.len()).ok().map(|length| (length, value)));
        if let Some((length, value)) = spelling {
            self.userdata.extend([entry, length]);
            self.userdata.extend(value);
        } else {
            self.invalid.get_or_insert_with(|| {
                Invalid::new("field of", &self.name, "cannot be spelled for nft")
            });
        }
    }

    /// A set that belongs to one rule; the kernel completes its name.
    pub(crate) fn anonymous(family: Family, table: &Name, key: DataType, size: usize) -> Self {
        let table = Table::new(family, table.clone());
        Self::new(&table, Name::template("__set%d"), &[key])
            .flags(SetFlags::ANONYMOUS | SetFlags::CONSTANT)
            .size(u32::try_from(size).unwrap_or(u32::MAX))
    }
}

fn split(kind: Result<KeyType, Invalid>) -> (KeyType, Option<Invalid>) {
    match kind {
        Ok(kind) => (kind, None),
        Err(invalid) => (KeyType::from_raw(0, 0), Some(invalid)),
    }
}
