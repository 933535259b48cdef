//! Several requests in one reusable buffer.

use crate::wire::{EncodeError, Flags, Header, Message, Messages, Writer, push_message};

/// Netlink requests one after another, sent in one datagram and executed by
/// the kernel in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Requests {
    /// No request yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the requests and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Appends a request; `NLM_F_REQUEST` is added to `flags`.
    ///
    /// # Errors
    /// The first value that could not be written; the request is then not
    /// appended.
    pub fn push(
        &mut self,
        kind: u16,
        flags: Flags,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        push_message(
            &mut self.bytes,
            Header::new(kind, flags | Flags::REQUEST, 0),
            body,
        )?;
        self.starts.push(start);
        Ok(())
    }

    /// The request at this place, counted from 0.
    pub fn message(&self, index: usize) -> Option<Message<'_>> {
        let bytes = self.bytes.get(*self.starts.get(index)?..)?;
        Messages::new(bytes).next()?.ok()
    }

    /// All requests as they are sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Has the kernel send back what it made of each request (`NLM_F_ECHO`),
    /// or not.
    pub fn echo(&mut self, wanted: bool) {
        for &start in &self.starts {
            let header = self
                .bytes
                .get_mut(start..)
                .and_then(<[u8]>::first_chunk_mut::<8>);
            if let Some([_, _, _, _, _, _, f0, f1]) = header {
                let mut flags = Flags::from_bits_retain(u16::from_ne_bytes([*f0, *f1]));
                flags.set(Flags::ECHO, wanted);
                [*f0, *f1] = flags.bits().to_ne_bytes();
            }
        }
    }

    /// Numbers the requests from `first` on, and has the one at `receipt`
    /// acknowledged and no other.
    pub fn prepare(&mut self, first: u32, receipt: usize) {
        let mut sequence = first;
        for (index, &start) in self.starts.iter().enumerate() {
            let Some(header) = self
                .bytes
                .get_mut(start..)
                .and_then(<[u8]>::first_chunk_mut::<16>)
            else {
                continue;
            };
            let [_, _, _, _, _, _, f0, f1, s0, s1, s2, s3, ..] = header;
            let mut flags = Flags::from_bits_retain(u16::from_ne_bytes([*f0, *f1]));
            flags.set(Flags::ACK, index == receipt);
            [*f0, *f1] = flags.bits().to_ne_bytes();
            [*s0, *s1, *s2, *s3] = sequence.to_ne_bytes();
            sequence = sequence.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_requests_are_numbered_and_one_is_acknowledged() {
        let mut requests = Requests::new();
        for kind in 20..23 {
            requests
                .push(kind, Flags::CREATE, |out| out.fixed(&[1]))
                .unwrap();
        }
        requests.prepare(u32::MAX, 1);
        requests.prepare(u32::MAX, 2);
        let headers: Vec<_> = (0..3)
            .map(|index| requests.message(index).unwrap().header())
            .collect();
        assert_eq!(
            headers
                .iter()
                .map(|header| header.sequence)
                .collect::<Vec<_>>(),
            [u32::MAX, 0, 1]
        );
        let acknowledged = headers
            .iter()
            .map(|header| header.flags.contains(Flags::ACK));
        assert_eq!(acknowledged.collect::<Vec<_>>(), [false, false, true]);
        assert!(requests.message(3).is_none());
    }

    #[test]
    fn refused_request_is_not_appended() {
        const NAME: crate::wire::Attr<crate::wire::Text> = crate::wire::Attr::new(1);
        let mut requests = Requests::new();
        requests.push(20, Flags::empty(), |_| ()).unwrap();
        assert!(
            requests
                .push(20, Flags::empty(), |out| out.put(NAME, "\0"))
                .is_err()
        );
        assert_eq!(requests.len(), 1);
        assert_eq!(requests.as_bytes().len(), 16);
    }
}
