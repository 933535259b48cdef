//! Ports with holes.

use crate::exposure::{Ports, Protocol};

/// What is left of `carried`, or of all ports of TCP and UDP if there are
/// none, without those that are `excluded`; each port once, in order.
pub(super) fn left(
    carried: &[(Protocol, Ports)],
    excluded: &[(Protocol, Ports)],
) -> Vec<(Protocol, Ports)> {
    let all = Ports::new(1, u16::MAX).ok();
    let every = [Protocol::Tcp, Protocol::Udp].map(|protocol| all.map(|ports| (protocol, ports)));
    let mut begin: Vec<(Protocol, Ports)> = if carried.is_empty() {
        every.into_iter().flatten().collect()
    } else {
        carried.to_vec()
    };
    begin.sort_by_key(|(protocol, ports)| (protocol.number(), ports.first()));
    let mut left: Vec<(Protocol, Ports)> = Vec::new();
    for (protocol, ports) in begin {
        let taken = left.iter().filter(|(of, _)| *of == protocol);
        let taken = taken.map(|(_, ports)| *ports);
        let holes = excluded.iter().filter(|(of, _)| *of == protocol);
        let holes: Vec<Ports> = holes.map(|(_, ports)| *ports).chain(taken).collect();
        left.extend(without(ports, &holes).into_iter().map(|it| (protocol, it)));
    }
    left
}

/// What is left of ports without those in `holes`.
pub(super) fn without(ports: Ports, holes: &[Ports]) -> Vec<Ports> {
    let mut left = vec![ports];
    for hole in holes {
        let split = |ports: Ports| {
            let before = hole.first().checked_sub(1);
            let before = before.map(|last| (ports.first(), last.min(ports.last())));
            let behind = hole.last().checked_add(1);
            let behind = behind.map(|first| (first.max(ports.first()), ports.last()));
            [before, behind]
                .into_iter()
                .flatten()
                .filter_map(|(first, last)| Ports::new(first, last).ok())
        };
        left = left.into_iter().flat_map(split).collect();
    }
    left
}

/// What two have in common.
pub(super) fn common(one: Ports, other: Ports) -> Option<Ports> {
    let first = one.first().max(other.first());
    Ports::new(first, one.last().min(other.last())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Vec<Ports> {
        let words = text.split(' ').filter(|word| !word.is_empty());
        words.map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn holes_are_left_out() {
        for (of, holes, left) in [
            ("1-65535", "", "1-65535"),
            ("1-65535", "1", "2-65535"),
            ("1-65535", "65535", "1-65534"),
            ("1-65535", "22 80-89 85-100", "1-21 23-79 101-65535"),
            ("80-90", "70-79 91-99", "80-90"),
            ("80-90", "85-200", "80-84"),
            ("80-90", "1-85", "86-90"),
            ("80", "80", ""),
            ("80", "1-65535", ""),
        ] {
            assert_eq!(
                without(ports(of)[0], &ports(holes)),
                ports(left),
                "{of} {holes}"
            );
        }
    }

    #[test]
    fn ports_that_are_carried_twice_are_carried_once() {
        let tcp = |text: &str| -> Vec<(Protocol, Ports)> {
            ports(text)
                .into_iter()
                .map(|it| (Protocol::Tcp, it))
                .collect()
        };
        assert_eq!(
            left(&tcp("80-90 85-100 8080"), &tcp("88")),
            tcp("80-87 89-90 91-100 8080")
        );
        assert_eq!(left(&[], &[]).len(), 2);
    }
}
