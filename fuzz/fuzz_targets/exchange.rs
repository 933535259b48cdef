//! Any sequence of datagrams as the answers to an exchange, against a model
//! that keeps nothing but what the kernel owes.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tapwire::conn::{Exchange, Progress};
use tapwire::wire::uapi::netlink::{
    NLMSG_DONE, NLMSG_ERROR, NLMSG_MIN_TYPE, NLMSG_OVERRUN, NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS,
};
use tapwire::wire::{Flags, Header, Message, Messages, push_message};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    mode: Mode,
    first: u32,
    count: u16,
    datagrams: Vec<Datagram<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Mode {
    Requests,
    Batch,
    Dump,
}

#[derive(Arbitrary, Debug)]
enum Datagram<'a> {
    Raw(&'a [u8]),
    Messages(Vec<Reply<'a>>),
}

/// A message near to what is expected.
#[derive(Arbitrary, Debug)]
struct Reply<'a> {
    kind: Kind,
    place: u16,
    flags: u16,
    errno: u8,
    text: Option<&'a str>,
    offset: Option<u32>,
    rest: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Error,
    Done,
    Overrun,
    Other(u16),
}

fuzz_target!(|input: Input<'_>| {
    let Input {
        mode,
        first,
        count,
        datagrams,
    } = input;
    let (mut exchange, last) = match mode {
        Mode::Requests => (
            Exchange::requests(first, count.into()),
            count.saturating_sub(1),
        ),
        Mode::Batch => (Exchange::batch(first, count.into()), count),
        Mode::Dump => (Exchange::dump(first), 0),
    };
    let mut model = Model {
        mode,
        first,
        last: last.into(),
        over: false,
        refused: 0,
        delivered: 0,
    };
    for datagram in &datagrams {
        let bytes = datagram.bytes(first);
        let mut delivered = 0;
        let fed = exchange.feed(&bytes, |message| {
            assert!(message.kind() >= NLMSG_MIN_TYPE);
            assert!(
                message.header().sequence.wrapping_sub(first) <= last.into(),
                "a stray"
            );
            delivered += 1;
            Ok(())
        });
        let refusals = exchange.refusals();
        assert!(refusals.len() <= 64, "refusals are bounded");
        assert!(
            refusals
                .iter()
                .all(|(place, _)| *place <= usize::from(last))
        );
        let Ok(progress) = fed else {
            return;
        };
        let readable = Messages::new(&bytes).collect::<Result<Vec<_>, _>>();
        for message in &readable.expect("what was taken is readable") {
            model.take(message);
        }
        assert_eq!(progress == Progress::Complete, model.over, "{mode:?}");
        assert_eq!(refusals.len(), model.refused.min(64));
        assert_eq!(delivered, std::mem::take(&mut model.delivered));
    }
});

struct Model {
    mode: Mode,
    first: u32,
    last: u32,
    over: bool,
    refused: usize,
    delivered: usize,
}

impl Model {
    fn take(&mut self, message: &Message<'_>) {
        let place = message.header().sequence.wrapping_sub(self.first);
        if self.over || place > self.last {
            return;
        }
        let code = message
            .body()
            .first_chunk()
            .map_or(0, |code| i32::from_ne_bytes(*code));
        match (message.kind(), self.mode) {
            (NLMSG_ERROR, mode) => {
                self.refused += usize::from(code != 0);
                self.over = match mode {
                    Mode::Requests => place == self.last,
                    Mode::Batch => place == self.last || place == 0 && code != 0,
                    Mode::Dump => code != 0,
                };
            }
            (NLMSG_DONE, Mode::Dump) => {
                self.refused += usize::from(code != 0);
                self.over = true;
            }
            (kind, _) if kind >= NLMSG_MIN_TYPE => self.delivered += 1,
            _ => {}
        }
    }
}

impl Datagram<'_> {
    fn bytes(&self, first: u32) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.to_vec(),
            Self::Messages(replies) => {
                let mut bytes = Vec::new();
                for reply in replies {
                    reply.push(first, &mut bytes);
                }
                bytes
            }
        }
    }
}

impl Reply<'_> {
    fn push(&self, first: u32, datagram: &mut Vec<u8>) {
        let kind = match self.kind {
            Kind::Error => NLMSG_ERROR,
            Kind::Done => NLMSG_DONE,
            Kind::Overrun => NLMSG_OVERRUN,
            Kind::Other(kind) => kind,
        };
        let sequence = first.wrapping_add(self.place.into());
        let header = Header::new(kind, Flags::from_bits_retain(self.flags), sequence);
        let before = datagram.len();
        let pushed = push_message(datagram, header, |out| {
            out.fixed(&(-i32::from(self.errno)).to_ne_bytes());
            if kind == NLMSG_ERROR {
                out.fixed(&[16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
            out.put_some(NLMSGERR_ATTR_MSG, self.text);
            out.put_some(NLMSGERR_ATTR_OFFS, self.offset);
            out.fixed(self.rest);
        });
        assert!(pushed.is_ok() || datagram.len() == before);
    }
}
