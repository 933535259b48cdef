//! What a take-over is made of, and how it is found again.

use std::fmt;

use crate::error::{Conflict, Error};
use crate::pod::{self, PodInterface, Restored, Role};
use crate::route::tc::{Action, Filter, Hook, Qdisc};
use crate::route::{Link, Rtnl};
use crate::types::{IfIndex, IfName};

/// What there is of a take-over: any part of it may be missing.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) tap: Option<Link>,
    /// What looks at the frames that the interface takes in.
    pub(super) near: Option<Ingress>,
    /// What looks at those that the TAP takes in.
    pub(super) far: Option<Ingress>,
    redirects: Option<(Filter, Filter)>,
}

impl Parts {
    pub(super) fn find(rtnl: &mut Rtnl, links: &[Link], pod: &PodInterface) -> Result<Self, Error> {
        let tap = pod::made(links, "tun", pod.mac(), Role::RedirectedTap);
        let near = Ingress::find(rtnl, pod.index(), tap.is_some())?;
        let far = match &tap {
            Some(tap) => Ingress::find(rtnl, tap.index(), true)?,
            None => None,
        };
        let redirects = tap.as_ref().map(|tap| redirects(pod.index(), tap.index()));
        Ok(Self {
            tap,
            near,
            far,
            redirects,
        })
    }

    /// The name of the TAP, if nothing is missing.
    pub(super) fn complete(&self) -> Option<IfName> {
        let (near, far) = self.redirects.as_ref()?;
        let does = |ingress: &Option<Ingress>, filter: &Filter| {
            ingress.as_ref().is_some_and(|ingress| ingress.has(filter))
        };
        let whole = does(&self.near, near) && does(&self.far, far);
        let tap = self.tap.as_ref().filter(|tap| whole && tap.is_up())?;
        tap.name().parse().ok()
    }

    /// The ingress of the interface or of the TAP that is not ours alone.
    pub(super) fn foreign(&self) -> Option<&Ingress> {
        [&self.near, &self.far]
            .into_iter()
            .flatten()
            .find(|ingress| !ingress.is_ours())
    }
}

/// The filter on each of the two.
pub(super) fn redirects(pod: IfIndex, tap: IfIndex) -> (Filter, Filter) {
    let redirect = |from, to| {
        let filter = Filter::new(from, Hook::Ingress, Action::Redirect(to));
        filter.priority(PRIORITY).cookie(COOKIE)
    };
    (redirect(pod, tap), redirect(tap, pod))
}

/// An ingress or clsact qdisc with its filters.
#[derive(Debug, Clone)]
pub(super) struct Ingress {
    qdisc: Qdisc,
    ours: Vec<Filter>,
    others: Vec<Filter>,
    /// Whether the TAP is there, without which the qdisc is not ours.
    begun: bool,
}

impl Ingress {
    fn find(rtnl: &mut Rtnl, index: IfIndex, begun: bool) -> Result<Option<Self>, Error> {
        let qdiscs = rtnl.qdiscs(Some(index))?;
        let Some(qdisc) = qdiscs.into_iter().find(Qdisc::is_ingress) else {
            return Ok(None);
        };
        let filters = rtnl.filters(index, Hook::Ingress)?;
        let is_ours = |filter: &Filter| filter.cookie_bytes() == Some(COOKIE);
        let (ours, others) = filters.into_iter().partition(is_ours);
        Ok(Some(Self {
            qdisc,
            ours,
            others,
            begun,
        }))
    }

    pub(super) fn has(&self, wanted: &Filter) -> bool {
        self.ours.iter().any(|filter| same(filter, wanted))
    }

    /// Filters of an attempt whose TAP is gone, by which frames are lost.
    pub(super) fn stale(&self, wanted: &Filter) -> impl Iterator<Item = &Filter> {
        self.ours.iter().filter(move |filter| !same(filter, wanted))
    }

    /// Whether it holds nothing but what was put there for the take-over. One
    /// that is empty is of an attempt that got no further, if there is a TAP:
    /// none was there before that was made.
    fn is_ours(&self) -> bool {
        let ingress = Qdisc::ingress(self.qdisc.index());
        self.qdisc == ingress && self.others.is_empty() && (self.begun || !self.ours.is_empty())
    }

    pub(super) fn conflict(&self, interface: IfName) -> Conflict {
        let wanted = format!("what {interface} takes in");
        Conflict::new(wanted, self)
    }

    /// Removes what is ours.
    pub(super) fn clear(&self, rtnl: &mut Rtnl) -> Result<Restored, Error> {
        if !self.is_ours() && self.ours.is_empty() {
            return Ok(Restored::Nothing);
        }
        let cleared = rtnl.apply(|changes| {
            if self.is_ours() {
                changes.delete_qdisc(&self.qdisc);
            } else if self
                .others
                .iter()
                .any(|it| it.priority_number() == PRIORITY)
            {
                self.ours.iter().for_each(|it| changes.delete_filter(it));
            } else {
                let (all, _) = redirects(self.qdisc.index(), self.qdisc.index());
                changes.delete_filter(&all);
            }
        });
        match cleared {
            Err(error) if error.is_not_found() => Ok(Restored::Nothing),
            outcome => outcome.map(|()| Restored::Removed),
        }
    }
}

impl fmt::Display for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "qdisc {}", self.qdisc)?;
        let mut filters = self.others.iter();
        filters.try_for_each(|filter| write!(f, ", filter {filter}"))
    }
}

fn same(filter: &Filter, wanted: &Filter) -> bool {
    wanted.action().is_some_and(|action| filter.does(action))
}

/// Before those of others.
const PRIORITY: u16 = 1;

/// By which our filters are known.
const COOKIE: &[u8] = b"tapwire";
