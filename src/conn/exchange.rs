//! The replies to what was sent, as a state machine without I/O.

use crate::error::{Error, Refusal};
use crate::wire::uapi::netlink::{
    NLMSG_DONE, NLMSG_ERROR, NLMSG_MIN_TYPE, NLMSG_OVERRUN, NLMSGERR_ATTR_MISS_TYPE,
    NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS,
};
use crate::wire::{Attrs, DecodeError, Flags, HEADER_LENGTH, Message, Messages, align};

/// So many refusals of one exchange are kept; a batch of a hundred thousand
/// can fail a hundred thousand times.
const REFUSALS_KEPT: usize = 64;

/// Whether the exchange waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The kernel owes another datagram.
    Pending,
    /// All is said.
    Complete,
}

/// What the kernel owes for requests that were sent, and what it has said so
/// far. Feed it every datagram that the socket receives.
///
/// ```
/// use tapwire::conn::{Exchange, Progress};
/// let mut exchange = Exchange::requests(7, 1);
/// // An acknowledgement: NLMSG_ERROR with errno 0 and the request's header.
/// let mut datagram = Vec::new();
/// for word in [36, 2 | 0x100 << 16, 7, 0, 0, 16, 0, 7, 0_u32] {
///     datagram.extend_from_slice(&word.to_ne_bytes());
/// }
/// assert_eq!(exchange.feed(&datagram, |_| Ok(()))?, Progress::Complete);
/// assert!(exchange.refusals().is_empty());
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    mode: Mode,
    first: u32,
    last: u32,
    refusals: Vec<(usize, Refusal)>,
    interrupted: bool,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Independent requests: over when the last one is acknowledged.
    Requests,
    /// An nf_tables batch. It is over when its last operation is
    /// acknowledged, or when its first message (`BATCH_BEGIN`) is refused:
    /// there the kernel reports what concerns all of it, a stale generation
    /// or a failed commit.
    Batch,
    /// A dump: over at `NLMSG_DONE`.
    Dump,
    /// A question without acknowledgement: over with its answer.
    Question,
}

impl Exchange {
    /// `count` requests numbered from `first`, of which the last is
    /// acknowledged.
    pub fn requests(first: u32, count: u32) -> Self {
        Self::new(Mode::Requests, first, count.saturating_sub(1))
    }

    /// An nf_tables batch: `first` is the number of its `BATCH_BEGIN`, of the
    /// `operations` behind it the last is acknowledged.
    ///
    /// That acknowledgement is the receipt. The kernel sends it after the
    /// commit and behind the errors of the operations before it; kernels
    /// before 6.10 do not acknowledge `BATCH_END`.
    pub fn batch(first: u32, operations: u32) -> Self {
        Self::new(Mode::Batch, first, operations)
    }

    /// A dump numbered `sequence`.
    pub fn dump(sequence: u32) -> Self {
        Self::new(Mode::Dump, sequence, 0)
    }

    /// A request numbered `sequence` that is answered by one message or by an
    /// error, and not acknowledged.
    pub fn question(sequence: u32) -> Self {
        Self::new(Mode::Question, sequence, 0)
    }

    fn new(mode: Mode, first: u32, last: u32) -> Self {
        Self {
            mode,
            first,
            last,
            refusals: Vec::new(),
            interrupted: false,
            progress: Progress::Pending,
        }
    }

    /// Takes one datagram; `each` gets the messages in it that answer the
    /// requests. Messages of other exchanges are passed over.
    ///
    /// # Errors
    /// What `each` returns, or [`Error::Decode`] if the datagram is malformed;
    /// the exchange should then be given up.
    pub fn feed(
        &mut self,
        datagram: &[u8],
        mut each: impl FnMut(&Message<'_>) -> Result<(), Error>,
    ) -> Result<Progress, Error> {
        for message in Messages::new(datagram) {
            let message = message?;
            let place = message.header().sequence.wrapping_sub(self.first);
            if place > self.last || self.progress == Progress::Complete {
                continue;
            }
            if message.header().flags.contains(Flags::DUMP_INTR) && self.mode == Mode::Dump {
                self.interrupted = true;
            }
            match message.kind() {
                NLMSG_ERROR => self.acknowledged(place, &message)?,
                NLMSG_DONE if self.mode == Mode::Dump => self.done(&message)?,
                NLMSG_OVERRUN => {
                    return Err(DecodeError::Truncated {
                        what: "the kernel's reply",
                    }
                    .into());
                }
                kind if kind >= NLMSG_MIN_TYPE => {
                    each(&message)?;
                    if self.mode == Mode::Question {
                        self.progress = Progress::Complete;
                    }
                }
                _ => {}
            }
        }
        Ok(self.progress)
    }

    /// What was refused: the place of the request, counted from 0
    /// (`BATCH_BEGIN` in a batch), and the kernel's words. The first 64 are
    /// kept.
    pub fn refusals(&self) -> &[(usize, Refusal)] {
        &self.refusals
    }

    /// What was refused, by value.
    pub fn into_refusals(self) -> Vec<(usize, Refusal)> {
        self.refusals
    }

    /// Whether things changed while they were listed, so that the dump must
    /// be repeated.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    fn acknowledged(&mut self, place: u32, message: &Message<'_>) -> Result<(), Error> {
        let truncated = DecodeError::Truncated {
            what: "acknowledgement",
        };
        let (code, rest) = take_code(message.body()).ok_or(truncated)?;
        if code != 0 {
            let tlvs = acknowledgement_attributes(message, rest).ok_or(truncated)?;
            self.refuse(place, code, tlvs)?;
        }
        let over = match self.mode {
            Mode::Requests => place == self.last,
            Mode::Batch => place == self.last || (place == 0 && code != 0),
            Mode::Dump => code != 0,
            Mode::Question => true,
        };
        if over {
            self.progress = Progress::Complete;
        }
        Ok(())
    }

    /// The end of a dump carries the errno of a dump that failed half-way.
    fn done(&mut self, message: &Message<'_>) -> Result<(), Error> {
        if let Some((code, rest)) = take_code(message.body())
            && code != 0
        {
            self.refuse(0, code, Attrs::new(rest))?;
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    fn refuse(&mut self, place: u32, code: i32, tlvs: Attrs<'_>) -> Result<(), Error> {
        if self.refusals.len() < REFUSALS_KEPT {
            let text = tlvs.clone().find(NLMSGERR_ATTR_MSG)?;
            let offset = tlvs.clone().find(NLMSGERR_ATTR_OFFS)?;
            let missing = tlvs.find(NLMSGERR_ATTR_MISS_TYPE)?;
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            let refusal = Refusal::new(code.saturating_neg(), text, offset);
            self.refusals.push((place, refusal.lacks(missing)));
        }
        Ok(())
    }
}

/// The errno, 0 or negative, at the start of `NLMSG_ERROR` and `NLMSG_DONE`.
fn take_code(body: &[u8]) -> Option<(i32, &[u8])> {
    let (code, rest) = body.split_first_chunk()?;
    Some((i32::from_ne_bytes(*code), rest))
}

/// The attributes behind the request's header, or behind all of the request
/// where it is repeated (without `NLM_F_CAPPED`).
fn acknowledgement_attributes<'a>(message: &Message<'a>, rest: &'a [u8]) -> Option<Attrs<'a>> {
    let flags = message.header().flags;
    if !flags.contains(Flags::ACK_TLVS) {
        return Some(Attrs::new(&[]));
    }
    let request = if flags.contains(Flags::CAPPED) {
        HEADER_LENGTH
    } else {
        let length = u32::from_ne_bytes(*rest.first_chunk()?);
        align(usize::try_from(length).ok()?.max(HEADER_LENGTH))
    };
    rest.get(request..).map(Attrs::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Header, push_message};

    fn reply(kind: u16, flags: Flags, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_message(&mut bytes, Header::new(kind, flags, sequence), |out| {
            out.fixed(body);
        })
        .unwrap();
        bytes
    }

    fn acknowledgement(
        sequence: u32,
        errno: i32,
        text: Option<&str>,
        offset: Option<u32>,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header::new(NLMSG_ERROR, Flags::CAPPED | Flags::ACK_TLVS, sequence);
        push_message(&mut bytes, header, |out| {
            out.fixed(&errno.wrapping_neg().to_ne_bytes());
            out.fixed(&[0; 16]);
            out.put_some(NLMSGERR_ATTR_MSG, text);
            out.put_some(NLMSGERR_ATTR_OFFS, offset);
        })
        .unwrap();
        bytes
    }

    fn nothing(_: &Message<'_>) -> Result<(), Error> {
        panic!("no message was to be delivered")
    }

    #[test]
    fn request_is_over_with_its_acknowledgement() {
        let mut exchange = Exchange::requests(5, 3);
        assert_eq!(
            exchange
                .feed(&acknowledgement(6, 17, Some("there"), Some(20)), nothing)
                .unwrap(),
            Progress::Pending
        );
        assert_eq!(
            exchange
                .feed(&acknowledgement(7, 0, None, None), nothing)
                .unwrap(),
            Progress::Complete
        );
        assert_eq!(
            exchange.refusals(),
            [(1, Refusal::new(17, Some("there"), Some(20)))]
        );
    }

    #[test]
    fn question_is_over_with_its_answer_or_an_error() {
        let mut exchange = Exchange::question(5);
        let mut kinds = Vec::new();
        let mut each = |message: &Message<'_>| {
            kinds.push(message.kind());
            Ok(())
        };
        let stray = reply(20, Flags::empty(), 4, &[0; 4]);
        assert_eq!(exchange.feed(&stray, &mut each).unwrap(), Progress::Pending);
        let answer = reply(21, Flags::empty(), 5, &[0; 4]);
        assert_eq!(
            exchange.feed(&answer, &mut each).unwrap(),
            Progress::Complete
        );
        assert_eq!(kinds, [21]);
        let mut exchange = Exchange::question(5);
        let refused = acknowledgement(5, 2, None, None);
        assert_eq!(
            exchange.feed(&refused, nothing).unwrap(),
            Progress::Complete
        );
        assert_eq!(exchange.refusals()[0].1.errno(), 2);
    }

    #[test]
    fn strays_of_earlier_exchanges_are_passed_over() {
        let mut exchange = Exchange::requests(0, 2);
        for stray in [u32::MAX, 2, 1000] {
            assert_eq!(
                exchange
                    .feed(&acknowledgement(stray, 1, None, None), nothing)
                    .unwrap(),
                Progress::Pending
            );
        }
        assert_eq!(
            exchange
                .feed(&reply(NLMSG_DONE, Flags::MULTI, 1, &[0; 4]), nothing)
                .unwrap(),
            Progress::Pending
        );
        assert_eq!(
            exchange
                .feed(&acknowledgement(1, 0, None, None), nothing)
                .unwrap(),
            Progress::Complete
        );
        assert!(exchange.refusals().is_empty());
    }

    #[test]
    fn sequence_numbers_wrap_around() {
        let mut exchange = Exchange::requests(u32::MAX, 2);
        exchange
            .feed(&acknowledgement(u32::MAX, 2, None, None), nothing)
            .unwrap();
        assert_eq!(
            exchange
                .feed(&acknowledgement(0, 0, None, None), nothing)
                .unwrap(),
            Progress::Complete
        );
        assert_eq!(exchange.refusals()[0].0, 0);
    }

    #[test]
    fn acknowledged_operation_behind_a_failed_one_is_no_receipt() {
        let mut exchange = Exchange::batch(10, 2);
        let mut datagram = acknowledgement(11, 2, None, Some(72));
        datagram.extend(acknowledgement(12, 0, None, None));
        assert_eq!(
            exchange.feed(&datagram, nothing).unwrap(),
            Progress::Complete
        );
        assert_eq!(exchange.refusals(), [(1, Refusal::new(2, None, Some(72)))]);
    }

    #[test]
    fn refused_begin_ends_the_batch() {
        let mut exchange = Exchange::batch(10, 2);
        assert_eq!(
            exchange
                .feed(&acknowledgement(10, 85, None, None), nothing)
                .unwrap(),
            Progress::Complete
        );
        assert_eq!(exchange.refusals()[0].0, 0);
    }

    #[test]
    fn dump_delivers_until_done_and_notes_an_interruption() {
        let mut exchange = Exchange::dump(3);
        let mut kinds = Vec::new();
        let mut each = |message: &Message<'_>| {
            kinds.push(message.kind());
            Ok(())
        };
        let first = reply(20, Flags::MULTI, 3, &[1]);
        assert_eq!(exchange.feed(&first, &mut each).unwrap(), Progress::Pending);
        let mut second = reply(21, Flags::MULTI | Flags::DUMP_INTR, 3, &[2]);
        second.extend(reply(NLMSG_DONE, Flags::MULTI, 3, &[0; 4]));
        assert_eq!(
            exchange.feed(&second, &mut each).unwrap(),
            Progress::Complete
        );
        assert!(exchange.interrupted());
        assert_eq!(kinds, [20, 21]);
    }

    #[test]
    fn dump_that_fails_says_so_in_its_end() {
        let mut done = Vec::new();
        push_message(
            &mut done,
            Header::new(NLMSG_DONE, Flags::MULTI | Flags::ACK_TLVS, 3),
            |out| {
                out.fixed(&(-22_i32).to_ne_bytes());
                out.put(NLMSGERR_ATTR_MSG, "Invalid header");
            },
        )
        .unwrap();
        let mut exchange = Exchange::dump(3);
        assert_eq!(exchange.feed(&done, nothing).unwrap(), Progress::Complete);
        assert_eq!(exchange.refusals()[0].1.message(), Some("Invalid header"));
    }

    #[test]
    fn uncapped_acknowledgement_has_its_attributes_behind_the_request() {
        let mut bytes = Vec::new();
        push_message(
            &mut bytes,
            Header::new(NLMSG_ERROR, Flags::ACK_TLVS, 1),
            |out| {
                out.fixed(&(-1_i32).to_ne_bytes());
                out.fixed(&22_u32.to_ne_bytes());
                out.fixed(&[0; 12 + 6]);
                out.put(NLMSGERR_ATTR_MSG, "no");
            },
        )
        .unwrap();
        let mut exchange = Exchange::requests(1, 1);
        exchange.feed(&bytes, nothing).unwrap();
        assert_eq!(exchange.refusals()[0].1.message(), Some("no"));
    }

    #[test]
    fn malformed_datagram_is_an_error() {
        let mut exchange = Exchange::requests(1, 1);
        assert!(exchange.feed(&[1, 2, 3], nothing).is_err());
        assert!(
            exchange
                .feed(&reply(NLMSG_ERROR, Flags::empty(), 1, &[]), nothing)
                .is_err()
        );
        let overrun = reply(NLMSG_OVERRUN, Flags::empty(), 1, &[]);
        assert!(exchange.feed(&overrun, nothing).is_err());
    }

    #[test]
    fn refusals_are_bounded() {
        let mut exchange = Exchange::batch(0, 100_000);
        for sequence in 1..1000 {
            exchange
                .feed(&acknowledgement(sequence, 17, None, None), nothing)
                .unwrap();
        }
        assert_eq!(exchange.refusals().len(), REFUSALS_KEPT);
    }
}
