//! The take-over, step by step, and back if a step fails.

use super::Redirected;
use super::parts::{Parts, redirects};
use super::plan::RedirectPlan;
use crate::error::Error;
use crate::pod::{self, Role, without_ipv6};
use crate::route::tc::Qdisc;
use crate::route::{LinkChange, Rtnl};
use crate::types::IfIndex;

impl RedirectPlan {
    /// Puts the guest's TAP in the place of the pod.
    ///
    /// What an earlier attempt has left is completed, and to take over what
    /// is taken over changes nothing. If a step fails, what this call has
    /// made is removed.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the interface is a port of something, or no
    /// longer the one that was read, if someone else's ingress or clsact
    /// qdisc or filter is on it, or if a name is taken; [`Error::Invalid`] if
    /// it is down, or names are not different: nothing was changed then.
    /// [`Error::Refused`], [`Error::System`] if the kernel refuses a step
    /// (`ENOENT`: it lacks `cls_u32` or `act_mirred`);
    /// [`Error::HalfDone`] if undoing failed too.
    pub fn take_over(&self) -> Result<Redirected, Error> {
        let mut rtnl = Rtnl::open()?;
        let found = self.check(&mut rtnl)?;
        let mut made = None;
        let had_ingress = found.near.is_some();
        self.build(&mut rtnl, &found, &mut made).map_err(|error| {
            let undoing = self.take_back(&mut rtnl, had_ingress, made);
            error.undone(undoing)
        })
    }

    /// Removes what was made. Should that fail too, what is left is found
    /// again by the next attempt and by `restore`.
    fn take_back(
        &self,
        rtnl: &mut Rtnl,
        had_ingress: bool,
        made: Option<IfIndex>,
    ) -> Result<(), Error> {
        let links = rtnl.links()?;
        let near = Parts::find(rtnl, &links, &self.pod)?.near;
        // The interface first: with it the pod has its packets again.
        if let Some(near) = near.filter(|_| !had_ingress) {
            near.clear(rtnl)?;
        }
        match made {
            Some(tap) => rtnl.apply(|changes| changes.delete_link(tap)),
            None => Ok(()),
        }
    }

    fn build(
        &self,
        rtnl: &mut Rtnl,
        found: &Parts,
        made: &mut Option<IfIndex>,
    ) -> Result<Redirected, Error> {
        let (name, pod) = (self.tap_name()?, self.pod.index());
        if found.complete() == Some(name) {
            return Ok(Redirected::new(self.pod.clone(), name));
        }
        let tap = if let Some(tap) = &found.tap {
            tap.index()
        } else {
            let mac = pod::derived(self.pod.mac(), Role::RedirectedTap);
            let tap = self.tap.make(&self.pod, mac)?;
            *made = Some(tap);
            tap
        };
        without_ipv6(name)?;
        let (near, far) = redirects(pod, tap);
        // The TAP first: what is then redirected to it finds the way back.
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(tap).up());
            for (found, filter) in [(&found.far, far), (&found.near, near)] {
                if found.is_none() {
                    changes.add_qdisc(&Qdisc::ingress(filter.index()));
                }
                let stale = found.iter().flat_map(|ingress| ingress.stale(&filter));
                stale.for_each(|it| changes.delete_filter(it));
                let has_it = found.as_ref().is_some_and(|ingress| ingress.has(&filter));
                if !has_it {
                    changes.add_filter(&filter);
                }
            }
        })?;
        Ok(Redirected::new(self.pod.clone(), name))
    }
}
