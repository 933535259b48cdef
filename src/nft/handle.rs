//! The verbs of one network namespace.

mod destroy;
mod list;
mod reset;

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use crate::conn::{Connection, Requests};
use crate::error::{Error, Operation, Refusal};
use crate::wire::uapi::nf_tables::{
    NFT_MSG_GETCHAIN, NFT_MSG_GETGEN, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETSETELEM,
    NFT_MSG_GETTABLE, NFTA_CHAIN_TABLE, NFTA_GEN_ID, NFTA_LIST_ELEM, NFTA_RULE_CHAIN,
    NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
    NFTA_SET_TABLE,
};
use crate::wire::{DecodeError, Message, Writer};

use self::destroy::is_destroy;
use super::{
    Batch, Chain, Content, Data, Element, Elements, Family, Rule, Set, SetFlags, Table, header,
};

/// A conversation with `nf_tables` in one network namespace.
///
/// Keep it open: closing a netfilter socket can wait for what the kernel
/// frees later (8–24 ms).
///
/// ```no_run
/// use tapwire::nft::{Batch, Family, Name, Nft, Table};
/// let mut nft = Nft::open()?;
/// let mut batch = Batch::new();
/// batch.add(&Table::new(Family::INET, Name::constant("riklet")));
/// nft.commit(&mut batch)?;
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Nft {
    connection: Connection,
    /// Whether the kernel may know `destroy`.
    destroys: bool,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if that fails.
    pub fn open() -> Result<Self, Error> {
        Connection::netfilter().map(Self::from)
    }

    /// Commits `batch` as a whole, and clears it if that worked; else nothing
    /// has changed, and the batch can be read or committed again. An empty
    /// batch is committed without a word to the kernel.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Encode`] for what could not be written;
    /// [`Error::Refused`] with the first operation that the kernel refused,
    /// and its part; [`Error::Stale`] if the ruleset has changed since the
    /// generation that the batch is based on; [`Error::UnknownOutcome`] if
    /// the kernel's answer was lost: then the batch may be in force.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        self.send(batch, None)
    }

    /// Commits `batch` as [`commit`](Self::commit) does, and returns what the
    /// kernel made of it, in its order: each thing that was added with the
    /// number that it got, the new generation last.
    ///
    /// # Errors
    /// What [`commit`](Self::commit) returns; [`Error::UnknownOutcome`] also if
    /// what the kernel sends back exceeds the receive buffer.
    pub fn commit_echoed(&mut self, batch: &mut Batch) -> Result<Vec<Content>, Error> {
        let mut echoes = Vec::new();
        self.send(
            batch,
            Some(&mut |message| {
                echoes.push(Content::decode(message)?);
                Ok(())
            }),
        )?;
        Ok(echoes)
    }

    fn send(&mut self, batch: &mut Batch, mut echo: Option<&mut Each<'_>>) -> Result<(), Error> {
        log::debug!("{batch}");
        let before = batch.generation();
        let requests = batch.finish()?;
        let refusals = if self.destroys || !destroys(requests) {
            let refusals = transmit(&mut self.connection, requests, &mut echo);
            match refusals {
                Ok(refusals) if self.destroys && refused_destroy(requests, &refusals) => {
                    self.destroys = false;
                    self.send_emulated(requests, before, &mut echo)
                }
                other => other,
            }
        } else {
            self.send_emulated(requests, before, &mut echo)
        };
        let refusals = match refusals {
            Err(Error::UnknownOutcome { source, .. }) => {
                return Err(Error::UnknownOutcome { before, source });
            }
            other => other?,
        };
        match refusals.into_iter().next() {
            None => batch.clear(),
            Some((place, refusal)) => return Err(batch.refused(place, refusal)),
        }
        Ok(())
    }

    /// Sends `requests` without `destroy`. The things that it looks for may
    /// change meanwhile: then it looks again, unless the batch itself is based
    /// on a generation.
    fn send_emulated(
        &mut self,
        requests: &Requests,
        before: Option<u32>,
        echo: &mut Option<&mut Each<'_>>,
    ) -> Result<Vec<(usize, Refusal)>, Error> {
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let mut emulated = self.emulate(requests, before)?;
            let refusals = transmit(&mut self.connection, &mut emulated.requests, echo)?;
            let stale = |(place, refusal): &(usize, Refusal)| {
                *place == 0 && refusal.errno() == libc::ERESTART
            };
            if refusals.iter().any(stale) && before.is_none() && attempts < STALE_ATTEMPTS {
                continue;
            }
            let original = |place: usize| emulated.places.get(place).copied().unwrap_or(place);
            return Ok(refusals
                .into_iter()
                .map(|(place, refusal)| (original(place), refusal))
                .collect());
        }
    }

    /// The number of the ruleset's present state; every commit of anyone
    /// raises it.
    ///
    /// # Errors
    /// [`Error::Refused`] (`EPERM` without `CAP_NET_ADMIN`).
    pub fn generation(&mut self) -> Result<u32, Error> {
        let answer = self.connection.ask(
            "get the generation",
            header::kind(NFT_MSG_GETGEN),
            |out| header::put(Family::UNSPEC, out),
            |message| {
                let (_, attrs) = header::split(message)?;
                let missing = DecodeError::Missing {
                    kind: NFTA_GEN_ID.kind(),
                };
                Ok(attrs.find(NFTA_GEN_ID)?.ok_or(missing)?)
            },
        )?;
        answer.ok_or_else(|| {
            DecodeError::Missing {
                kind: NFTA_GEN_ID.kind(),
            }
            .into()
        })
    }

    /// All tables.
    ///
    /// # Errors
    /// What [`Connection::dump`] returns.
    pub fn tables(&mut self) -> Result<Vec<Table>, Error> {
        self.connection.dump(
            "list tables",
            header::kind(NFT_MSG_GETTABLE),
            |out| header::put(Family::UNSPEC, out),
            |message| Ok(Some(Table::decode(message)?)),
        )
    }

    /// The chains of all tables of `family`; of all families with
    /// [`Family::UNSPEC`].
    ///
    /// # Errors
    /// What [`Connection::dump`] returns.
    pub fn all_chains(&mut self, family: Family) -> Result<Vec<Chain>, Error> {
        self.connection.dump(
            format_args!("list chains {family}"),
            header::kind(NFT_MSG_GETCHAIN),
            |out| header::put(family, out),
            |message| Ok(Some(Chain::decode(message)?)),
        )
    }

    /// The chains of `table`.
    ///
    /// # Errors
    /// What [`Connection::dump`] returns.
    pub fn chains(&mut self, table: &Table) -> Result<Vec<Chain>, Error> {
        let ours =
            |chain: &Chain| chain.family() == table.family() && chain.table() == table.name();
        self.connection.dump(
            format_args!("list chains {} {}", table.family(), table.name()),
            header::kind(NFT_MSG_GETCHAIN),
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_CHAIN_TABLE, table.name().as_str());
            },
            |message| Ok(Some(Chain::decode(message)?).filter(ours)),
        )
    }

    /// The rules of `chain`, in their order.
    ///
    /// # Errors
    /// What [`Connection::dump`] returns.
    pub fn rules(&mut self, chain: &Chain) -> Result<Vec<Rule>, Error> {
        let ours = |rule: &Rule| {
            rule.family() == chain.family()
                && rule.table() == chain.table()
                && rule.chain() == chain.name()
        };
        self.connection.dump(
            format_args!(
                "list chain {} {} {}",
                chain.family(),
                chain.table(),
                chain.name()
            ),
            header::kind(NFT_MSG_GETRULE),
            |out| {
                header::put(chain.family(), out);
                out.put(NFTA_RULE_TABLE, chain.table().as_str());
                out.put(NFTA_RULE_CHAIN, chain.name().as_str());
            },
            |message| Ok(Some(Rule::decode(message)?).filter(ours)),
        )
    }

    /// The sets and maps of `table`, anonymous ones included.
    ///
    /// # Errors
    /// What [`Connection::dump`] returns.
    pub fn sets(&mut self, table: &Table) -> Result<Vec<Set>, Error> {
        let ours = |set: &Set| set.family() == table.family() && set.table() == table.name();
        self.connection.dump(
            format_args!("list sets {} {}", table.family(), table.name()),
            header::kind(NFT_MSG_GETSET),
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_SET_TABLE, table.name().as_str());
            },
            |message| Ok(Some(Set::decode(message)?).filter(ours)),
        )
    }

    /// The elements of `set`, in no order.
    ///
    /// A hash set without a declared size is moved to a larger table in the
    /// background, and the kernel then lists some elements twice and leaves
    /// out others, without a word. That is noticed and the list repeated.
    ///
    /// # Errors
    /// [`Error::Refused`] (`ENOENT`) if there is no such set;
    /// [`Error::Interrupted`] if the set kept moving; what
    /// [`Connection::dump`] returns.
    pub fn elements(&mut self, set: &Set) -> Result<Vec<Element>, Error> {
        let what = format!("list set {} {} {}", set.family(), set.table(), set.name());
        let fixed = set.capacity().is_some() || set.current_flags().contains(SetFlags::INTERVAL);
        for _ in 0..MOVING_ATTEMPTS {
            let elements = self.connection.dump_all(
                &what,
                header::kind(NFT_MSG_GETSETELEM),
                |out| put_set(set, out),
                |message, all| Ok(Elements::decode_into(message, all)?),
            )?;
            if fixed || are_distinct(&elements) {
                return Ok(elements);
            }
            thread::sleep(MOVING_PAUSE);
        }
        Err(Error::Interrupted {
            operation: Operation::new(what),
            attempts: MOVING_ATTEMPTS,
        })
    }

    /// The element of `set` that has this key, or whose range holds it.
    ///
    /// # Errors
    /// What [`Connection::get`] returns; that there is none is no error.
    pub fn get_element(
        &mut self,
        set: &Set,
        key: impl Into<Data>,
    ) -> Result<Option<Element>, Error> {
        let wanted = Element::new(key);
        let answer = self.connection.ask(
            format_args!(
                "get element {} {} {} {wanted}",
                set.family(),
                set.table(),
                set.name()
            ),
            header::kind(NFT_MSG_GETSETELEM),
            |out| {
                put_set(set, out);
                out.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                    out.nest(NFTA_LIST_ELEM, |out| wanted.encode_key(out));
                });
            },
            |message| Ok(Elements::decode(message)?.elements),
        );
        match answer {
            Ok(list) => Ok(list.and_then(|list| list.into_iter().next())),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The connection, for what is not offered here.
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl From<Connection> for Nft {
    /// Of a connection that speaks netfilter.
    fn from(connection: Connection) -> Self {
        Self {
            connection,
            destroys: true,
        }
    }
}

/// What takes the messages that the kernel sends back.
type Each<'a> = dyn FnMut(&Message<'_>) -> Result<(), Error> + 'a;

fn transmit(
    connection: &mut Connection,
    requests: &mut Requests,
    echo: &mut Option<&mut Each<'_>>,
) -> Result<Vec<(usize, Refusal)>, Error> {
    requests.echo(echo.is_some());
    match echo {
        Some(each) => connection.commit_echoed(requests, each),
        None => connection.commit(requests),
    }
}

fn destroys(requests: &Requests) -> bool {
    (0..requests.len())
        .filter_map(|place| requests.message(place))
        .any(|message| is_destroy(&message))
}

/// Whether one was refused as a message that the kernel does not know.
fn refused_destroy(requests: &Requests, refusals: &[(usize, Refusal)]) -> bool {
    refusals.iter().any(|(place, refusal)| {
        let message = requests.message(*place);
        refusal.errno() == libc::EINVAL
            && refusal.offset().is_none()
            && message.is_some_and(|message| is_destroy(&message))
    })
}

fn put_set(set: &Set, out: &mut Writer<'_>) {
    header::put(set.family(), out);
    out.put(NFTA_SET_ELEM_LIST_TABLE, set.table().as_str());
    out.put(NFTA_SET_ELEM_LIST_SET, set.name().as_str());
}

fn are_distinct(elements: &[Element]) -> bool {
    let mut seen = HashSet::with_capacity(elements.len());
    elements
        .iter()
        .all(|element| seen.insert((element.key(), element.is_interval_end())))
}

/// So often a batch is tried while the ruleset keeps changing.
const STALE_ATTEMPTS: u32 = 16;

/// A set of a hundred thousand elements is moved within milliseconds.
const MOVING_ATTEMPTS: u32 = 100;
const MOVING_PAUSE: Duration = Duration::from_millis(2);
