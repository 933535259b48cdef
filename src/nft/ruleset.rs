//! All tables of a network namespace.

use std::collections::BTreeMap;

use crate::error::{Error, Operation};

use super::{Content, Family, Name, Nft, Snapshot};

/// The tables of a network namespace with all that is in them, as they were
/// at one generation. Printed, it reads as `nft list ruleset`.
///
/// ```no_run
/// use tapwire::nft::Nft;
/// let ruleset = Nft::open()?.ruleset()?;
/// print!("{}", ruleset.stateless());
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    tables: Vec<Snapshot>,
}

impl Nft {
    /// All tables with all that is in them.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the ruleset kept changing; what
    /// [`Nft::snapshot`] returns.
    pub fn ruleset(&mut self) -> Result<Ruleset, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let mut tables = Vec::new();
            for table in self.tables()? {
                tables.extend(self.snapshot(table.family(), table.name())?);
            }
            if tables.iter().all(|table| table.generation() == generation)
                && self.generation()? == generation
            {
                return Ok(Ruleset { tables });
            }
        }
        Err(Error::Interrupted {
            operation: Operation::new("list ruleset"),
            attempts: ATTEMPTS,
        })
    }
}

impl Ruleset {
    /// The tables, in the kernel's order.
    pub fn tables(&self) -> &[Snapshot] {
        &self.tables
    }
}

impl FromIterator<Content> for Ruleset {
    /// What was read message by message. Things of tables that are not among
    /// the messages are left out.
    fn from_iter<I: IntoIterator<Item = Content>>(contents: I) -> Self {
        let mut places: BTreeMap<(Family, Name), usize> = BTreeMap::new();
        let mut tables: Vec<Snapshot> = Vec::new();
        let mut rest = Vec::new();
        let mut generation = 0;
        for content in contents {
            match content {
                Content::Table(table) => {
                    let place = (table.family(), table.name().clone());
                    places.entry(place).or_insert_with(|| {
                        tables.push(Snapshot::empty(generation, table));
                        tables.len().saturating_sub(1)
                    });
                }
                Content::Generation(number) => generation = number,
                other => rest.push(other),
            }
        }
        for content in rest {
            let Some(place) = place(&content).and_then(|place| places.get(&place)) else {
                continue;
            };
            if let Some(table) = tables.get_mut(*place) {
                table.take(content);
            }
        }
        Self { tables }
    }
}

/// The table that `content` belongs to.
fn place(content: &Content) -> Option<(Family, Name)> {
    Some(match content {
        Content::Chain(one) => (one.family(), one.table().clone()),
        Content::Rule(one) => (one.family(), one.table().clone()),
        Content::Set(one) => (one.family(), one.table().clone()),
        Content::Elements(one) => (one.family, one.table.clone()),
        Content::Object(one) => (one.family(), one.table().clone()),
        Content::Flowtable(one) => (one.family(), one.table().clone()),
        _ => return None,
    })
}

/// So often all is read while the ruleset keeps changing.
const ATTEMPTS: u32 = 16;
