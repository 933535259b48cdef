//! Exposures as elements of the owner's sets, written and read.

mod elements;
mod note;
mod parts;
mod read;
mod sides;

pub(crate) use elements::{Seat, claim_element, key_of, note};
pub(crate) use note::Note;
pub(crate) use parts::{
    Place, is_part, read_allowed, read_claim, read_slot, read_span, read_special,
};
pub(crate) use read::Regrouped;
pub(super) use sides::all;
pub(crate) use sides::{SETS, SIDES, Side, role};
