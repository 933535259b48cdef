//! Processes of the pod that wait for what a guest in its place will get.

use super::PodInterface;
use crate::conflict::{Conflict, HostPort};
use crate::diag;
use crate::error::Error;
use crate::exposure::Protocol;

/// The sockets that wait on addresses of the interface, or on all addresses.
pub(crate) fn listeners(pod: &PodInterface) -> Result<Vec<Conflict>, Error> {
    let of_pod = |ip| pod.addresses().iter().any(|it| it.net().addr() == ip);
    let waiting = diag::listeners_of([Protocol::Tcp, Protocol::Udp].map(Protocol::number))?
        .into_iter()
        .filter(|it| {
            let ip = it.local().ip().to_canonical();
            let by_pod = it.interface().is_none_or(|index| index == pod.index());
            by_pod && (ip.is_unspecified() || of_pod(ip))
        });
    let told = waiting.map(|it| {
        let socket = it.local();
        let ip = socket.ip().to_canonical();
        Conflict::Listening {
            port: HostPort {
                protocol: it.protocol(),
                ipv4: ip.is_ipv4() || it.takes_ipv4(),
                address: (!ip.is_unspecified()).then_some(ip),
                port: socket.port(),
            },
            socket,
            uid: it.uid(),
            inode: it.inode(),
        }
    });
    Ok(told.collect())
}
