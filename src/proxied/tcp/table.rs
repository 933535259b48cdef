//! The connections as a table: found by number and by addresses, with their
//! deadlines and what they are counted under.

use std::net::SocketAddr;

use smoltcp::time::Instant;

use super::{Connection, Connections, Ends, Stage};
use crate::proxied::outside::Outside;

impl Connections {
    pub(super) fn remove(&mut self, outside: &mut Outside, number: u64) {
        drop(self.take(outside, number));
    }

    pub(super) fn take(&mut self, outside: &mut Outside, number: u64) -> Option<Connection> {
        let connection = self.all.remove(&number)?;
        self.numbers.remove(&connection.ends);
        if let Some(deadline) = connection.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        if matches!(connection.stage, Stage::Lingering(_)) {
            self.lingering.retain(|one| *one != number);
        }
        if let Some(door) = connection.door
            && let Some(open) = self.through.get_mut(&door)
        {
            *open = open.saturating_sub(1);
        }
        self.count(outside);
        Some(connection)
    }

    pub(super) fn insert(
        &mut self,
        outside: &Outside,
        number: u64,
        ends: Ends,
        stage: Stage,
        door: Option<u64>,
    ) {
        if let Some(door) = door {
            let open = self.through.entry(door).or_default();
            *open = open.saturating_add(1);
        }
        let connection = Connection {
            ends,
            stage,
            deadline: None,
            is_touched: false,
            door,
        };
        self.numbers.insert(ends, number);
        self.all.insert(number, connection);
        self.count(outside);
    }

    pub(super) fn set_deadline(&mut self, number: u64, deadline: Option<Instant>) {
        let Some(connection) = self.all.get_mut(&number) else {
            return;
        };
        if connection.deadline == deadline {
            return;
        }
        if let Some(before) = connection.deadline {
            self.deadlines.remove(&(before, number));
        }
        connection.deadline = deadline;
        self.deadlines.extend(deadline.map(|time| (time, number)));
    }

    pub(super) fn touch(&mut self, number: u64) {
        if let Some(connection) = self.all.get_mut(&number)
            && !connection.is_touched
        {
            connection.is_touched = true;
            self.touched.push(number);
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    pub(super) fn open(&self) -> usize {
        self.all.len().saturating_sub(self.lingering.len())
    }

    pub(super) fn is_full(&self, outside: &Outside) -> bool {
        self.open() >= outside.settings.connections
    }

    pub(super) fn count(&self, outside: &Outside) {
        outside.counters.open.set(self.open());
    }

    /// The address that the guest sees a client with: its own, if that is one
    /// that the guest can answer to.
    pub(super) fn seen_as(
        &mut self,
        outside: &Outside,
        client: SocketAddr,
        guest: SocketAddr,
    ) -> Option<SocketAddr> {
        let is_free = |far: SocketAddr| !self.numbers.contains_key(&Ends { guest, far });
        if outside.shows(client.ip()) && is_free(client) {
            return Some(client);
        }
        let gateway = outside.settings.gateway(guest.is_ipv4());
        let mut port = self.port;
        for _ in 0..PORTS_TRIED {
            port = port.checked_add(1).unwrap_or(FIRST_PORT).max(FIRST_PORT);
            let far = SocketAddr::new(gateway, port);
            if is_free(far) {
                self.port = port;
                return Some(far);
            }
        }
        None
    }
}

/// Of the gateway's ports, those from here on stand for clients.
const FIRST_PORT: u16 = 32_768;
const PORTS_TRIED: u32 = 32_768;
