//! A mesh in the pod, which takes connections first and hands them on.

mod answers;
mod rules;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::ports::{common, without};
use crate::error::{Error, Invalid};
use crate::exposure::Ports;
use crate::guest::{Attachment, Policy};
use crate::owner::Owner;
use crate::types::IfName;

/// A mesh whose proxy runs in the pod: its own rules lead the pod's TCP
/// connections to the proxy, which connects to the pod's own address, or
/// `127.0.0.1`. Nothing is taken from the mesh's rules: TCP that comes from
/// outside is left to them, but for ports that are [open](Self::open) and for
/// [probes](Self::probe).
///
/// | | [`sidecar`](Self::sidecar) | [`ambient`](Self::ambient) |
/// |---|---|---|
/// | the proxy connects from | `127.0.0.1`, `127.0.0.6`, `::6` | its client's address, a socket with [mark](Self::marked) `0x539/0xfff` |
/// | the guest sees | its gateway | the client |
/// | ports of the mesh itself | [`RESERVED_PORTS`] | [`AMBIENT_PORTS`] |
/// | straight to the guest | | probes from `169.254.7.127` and `fd16:9254:7127:1337:ffff:ffff:ffff:ffff` |
/// | what the guest begins by TCP | to port 15001 | to port 15001 |
///
/// An answer to a proxy that connects from its client's address looks like one
/// to pass on. So such a connection is marked (bit `0x100000` of its mark), and
/// a routing rule for what comes from the guest's TAP with that mark, with a
/// table of the owner's own in which all addresses are local, leads it back to
/// the proxy. That wants a kernel with policy routing and connection marks
/// (`CONFIG_IP_MULTIPLE_TABLES`, `CONFIG_NF_CONNTRACK_MARK`), else
/// [`Error::Refused`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    sources: Vec<IpNet>,
    /// Of the proxy's sockets, and the mask over it.
    mark: Option<(u32, u32)>,
    probes: Vec<IpNet>,
    /// Where the proxy takes what the guest begins.
    outbound: Option<NonZeroU16>,
    reserved: Vec<Ports>,
    open: Vec<Ports>,
}

/// The TCP ports of an Istio sidecar itself, which are never the guest's.
pub const RESERVED_PORTS: [u16; 7] = [15_000, 15_001, 15_006, 15_008, 15_020, 15_021, 15_090];

/// The TCP ports of Istio's ztunnel in the namespace of each pod, which are
/// never the guest's. (Its ports for readiness and metrics, 15020 and 15021,
/// are in a namespace of its own.)
pub const AMBIENT_PORTS: [u16; 5] = [15_001, 15_006, 15_008, 15_053, 15_080];

impl Mesh {
    /// A mesh whose proxy connects from these addresses.
    pub fn new(sources: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            sources: sources.into_iter().collect(),
            mark: None,
            probes: Vec::new(),
            outbound: None,
            reserved: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Istio with a sidecar that redirects (its mode `REDIRECT`): connections
    /// from `127.0.0.1`, `127.0.0.6` and `::6`, and [`RESERVED_PORTS`].
    pub fn sidecar() -> Self {
        let sources = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv4Addr::new(127, 0, 0, 6).into(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
        ];
        Self {
            reserved: single(&RESERVED_PORTS),
            outbound: Some(OUTBOUND),
            ..Self::new(sources.map(IpNet::from))
        }
    }

    /// Istio's ambient mode, with its rules in the pod's namespace: connections
    /// of ztunnel's sockets, known by their mark, from whatever source; probes
    /// of the kubelet; and [`AMBIENT_PORTS`].
    ///
    /// This goes with Istio's rules as they redirect (`REDIRECT`). Older ones
    /// with `TPROXY` take what the guest begins before anything here sees it,
    /// for ones to the pod;
    /// [`conflicts`](super::Masquerade::conflicts) tells
    /// ([`Conflict::Intercepted`](crate::Conflict::Intercepted)).
    pub fn ambient() -> Self {
        let probes = [IpAddr::from(PROBE4), PROBE6.into()];
        Self {
            mark: Some((0x539, 0xfff)),
            probes: probes.map(IpNet::from).into(),
            reserved: single(&AMBIENT_PORTS),
            outbound: Some(OUTBOUND),
            ..Self::new([])
        }
    }

    /// The proxy connects from this as well.
    #[must_use]
    pub fn source(mut self, source: IpNet) -> Self {
        self.sources.push(source);
        self
    }

    /// The proxy's sockets have this mark (`SO_MARK` of `socket(7)`) under
    /// `mask`, and connect to the pod's own address from whatever source: the
    /// guest sees that one.
    ///
    /// # Errors
    /// [`Invalid`] for a mark that is 0, or has bits outside of `mask`, or the
    /// bit by which answers are known, `0x100000`.
    pub fn marked(mut self, mark: u32, mask: u32) -> Result<Self, Invalid> {
        let invalid = |why| {
            Err(Invalid::new(
                "mark",
                format_args!("{mark:#x}/{mask:#x}"),
                why,
            ))
        };
        if mark == 0 {
            return invalid("is what sockets have that were given none");
        }
        if mark & !mask != 0 {
            return invalid("has bits outside of its mask, so nothing matches");
        }
        if mask & answers::MARK != 0 {
            return invalid("has the bit 0x100000, by which answers are known");
        }
        self.mark = Some((mark, mask));
        Ok(self)
    }

    /// What comes from here by TCP is led to the guest straight away, before
    /// the mesh's rules see it: the kubelet's probes.
    #[must_use]
    pub fn probe(mut self, source: IpNet) -> Self {
        self.probes.push(source);
        self
    }

    /// What the guest begins by TCP with others than itself goes to this port
    /// of the pod, where the proxy takes it and asks the kernel for the address
    /// that was wanted (`SO_ORIGINAL_DST`). The guest is allowed that port.
    /// (So Istio need not be told of the TAP by an annotation of the pod.)
    /// It stays limited to the prefixes that its
    /// [`Egress`](crate::Egress) has; behind which address it goes on is the
    /// proxy's matter.
    #[must_use]
    pub fn outbound(mut self, port: NonZeroU16) -> Self {
        self.outbound = Some(port);
        self
    }

    /// These TCP ports are the mesh's own, never the guest's.
    #[must_use]
    pub fn reserve(mut self, ports: Ports) -> Self {
        self.reserved.push(ports);
        self
    }

    /// These TCP ports do not go through the mesh: they are led to the guest
    /// from outside, before the mesh's rules see them.
    #[must_use]
    pub fn open(mut self, ports: Ports) -> Self {
        self.open.push(ports);
        self
    }

    pub(super) fn reserved(&self) -> impl Iterator<Item = Ports> {
        self.reserved.iter().copied()
    }

    /// Those of `ports` that do not go through the mesh.
    pub(super) fn open_of(&self, ports: Ports) -> impl Iterator<Item = Ports> {
        self.open
            .iter()
            .filter_map(move |open| common(ports, *open))
    }

    /// Those of `ports` that do.
    pub(super) fn proxied_of(&self, ports: &[Ports]) -> Vec<Ports> {
        let proxied = ports.iter().flat_map(|ports| without(*ports, &self.open));
        proxied.collect()
    }

    /// Where the proxy takes what the guest begins.
    pub(super) fn takes_at(&self) -> Option<NonZeroU16> {
        self.outbound
    }

    /// Has what the proxy connects to led to the guest, and what the guest
    /// begins to the proxy.
    pub(super) fn install(&self, place: &Place<'_>) -> Result<(), Error> {
        answers::settle(place.owner, self.answered(place))?;
        rules::install(self, place)
    }

    /// Whether that is so already.
    pub(super) fn is_installed(&self, place: &Place<'_>) -> Result<bool, Error> {
        Ok(rules::are_installed(self, place)?
            && answers::is_settled(place.owner, self.answered(place))?)
    }

    /// The TAP from which answers come to sockets of others' addresses.
    fn answered(&self, place: &Place<'_>) -> Option<IfName> {
        self.mark.map(|_| place.guest.tap())
    }
}

/// The guest for which a mesh is.
pub(super) struct Place<'a> {
    pub(super) owner: &'a Owner,
    pub(super) guest: &'a Attachment,
    pub(super) policy: &'a Policy,
    /// The TCP ports that come by way of the mesh.
    pub(super) ports: &'a [Ports],
}

/// `from 127.0.0.1/32 127.0.0.6/32, without 15000 15001, open 8080`.
impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("from")?;
        self.sources
            .iter()
            .try_for_each(|net| write!(f, " {net}"))?;
        if let Some((mark, mask)) = self.mark {
            write!(f, " mark {mark:#x}/{mask:#x}")?;
        }
        for (words, ports) in [(", without", &self.reserved), (", open", &self.open)] {
            if !ports.is_empty() {
                f.write_str(words)?;
                ports.iter().try_for_each(|ports| write!(f, " {ports}"))?;
            }
        }
        if !self.probes.is_empty() {
            f.write_str(", probes from")?;
            self.probes.iter().try_for_each(|net| write!(f, " {net}"))?;
        }
        match self.outbound {
            Some(port) => write!(f, ", outbound {port}"),
            None => Ok(()),
        }
    }
}

/// Removes what the owner has for a mesh, if there is something. Answers lose
/// their way last, so that connections end with it.
pub(super) fn remove(owner: &Owner) -> Result<(), Error> {
    rules::remove(owner)?;
    answers::settle(owner, None)
}

/// Whether the owner has something for a mesh.
pub(super) fn is_there(owner: &Owner) -> Result<bool, Error> {
    Ok(rules::are_there(owner)? || !answers::is_settled(owner, None)?)
}

fn single(ports: &[u16]) -> Vec<Ports> {
    let single = ports.iter().filter_map(|&port| Ports::new(port, port).ok());
    single.collect()
}

/// Where Istio's proxies take what the pod begins: 15001.
const OUTBOUND: NonZeroU16 = NonZeroU16::MIN.saturating_add(15_000);

/// `HOST_PROBE_SNAT_IP` and `HOST_PROBE_SNAT_IPV6` of Istio.
const PROBE4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
const PROBE6: Ipv6Addr = Ipv6Addr::new(
    0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_that_matches_nothing_or_hides_answers_is_refused() {
        for (mark, mask) in [(0, 0xfff), (0x539, 0xff), (0x10_0539, 0x10_0fff)] {
            assert!(Mesh::new([]).marked(mark, mask).is_err(), "{mark:#x}");
        }
        let mesh = Mesh::new([]).marked(0x7, 0xf).unwrap();
        assert_eq!(mesh.to_string(), "from mark 0x7/0xf");
    }

    #[test]
    fn mesh_says_what_it_is() {
        assert_eq!(
            Mesh::ambient().to_string(),
            "from mark 0x539/0xfff, without 15001 15006 15008 15053 15080, probes from \
             169.254.7.127/32 fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128, outbound 15001"
        );
    }
}
