//! tapwire, and what the kernel takes for the same message.

use std::net::SocketAddr;

use tapwire::{Exposure, Flows, Guest, Host, Owner, Protocol};

use crate::floor::{Floor, Replay};
use crate::{FIRST, PORT, PRESENT, Result, Rival, in_new_namespace, time};

pub(crate) fn join() -> Result<Vec<Rival>> {
    let (netns, (mut host, one)) = in_new_namespace(set_up)?;
    let (floor_netns, (mut floor, _, _)) = in_new_namespace(|| {
        let (host, one) = set_up()?;
        Ok((Floor::open()?, host, one))
    })?;
    let ((), mut add) = Replay::record(|| Ok(host.expose(&one)?))?;
    let ((), mut withdraw) = Replay::record(|| Ok(host.withdraw(&one, Flows::Drain)?))?;
    let ours = move || {
        let _held = &netns;
        let taken = time(|| Ok(host.expose(&one)?))?;
        host.withdraw(&one, Flows::Drain)?;
        Ok(taken)
    };
    let least = move || {
        let _held = &floor_netns;
        let taken = floor.replay(&mut add)?;
        floor.replay(&mut withdraw)?;
        Ok(taken)
    };
    Ok(vec![
        Rival::new("tapwire, an exposure", 1, ours),
        Rival::new("the same message over a bare socket", 1, least),
    ])
}

fn set_up() -> Result<(Host, Exposure)> {
    let mut host = Host::open(Owner::new("bench")?)?;
    let guest = host.attach(&Guest::new("hello-world")?)?;
    let target = SocketAddr::new(guest.ipv4().into(), 80);
    let to = |port| Exposure::new(Protocol::Tcp, port, target);
    let present: Vec<_> = (FIRST..FIRST + PRESENT).map(to).collect::<Result<_, _>>()?;
    host.expose_all(&present)?;
    Ok((host, to(PORT)?))
}
