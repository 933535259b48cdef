//! How elements are written and read: `NFTA_SET_ELEM_*`.

use super::{Element, Rare, Target};
use crate::nft::carried::Carried;
use crate::nft::expr::Expr;
use crate::nft::userdata::{self, Entries};
use crate::nft::{Comment, Data, Name, Value};
use crate::wire::uapi::nf_tables::{
    NFTA_LIST_ELEM, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_EXPIRATION, NFTA_SET_ELEM_EXPR,
    NFTA_SET_ELEM_EXPRESSIONS, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END,
    NFTA_SET_ELEM_OBJREF, NFTA_SET_ELEM_TIMEOUT, NFTA_SET_ELEM_USERDATA,
};
use crate::wire::{Attrs, DecodeError, Writer};

impl Element {
    /// What identifies it in a deletion or a question.
    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        if self.flags != 0 {
            out.put(NFTA_SET_ELEM_FLAGS, self.flags);
        }
        if !self.is_catch_all() {
            self.key.put(NFTA_SET_ELEM_KEY, out);
        }
        if let Some(last) = self.key_end() {
            last.put(NFTA_SET_ELEM_KEY_END, out);
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        self.encode_key(out);
        match &self.target {
            Target::Nothing => {}
            Target::Value(value) => value.put(NFTA_SET_ELEM_DATA, out),
            Target::Object(object) => object.put(NFTA_SET_ELEM_OBJREF, out),
        }
        let rare = self.rare.as_deref();
        if let Some(rare) = rare {
            out.put_some(NFTA_SET_ELEM_TIMEOUT, rare.timeout);
            out.put_some(NFTA_SET_ELEM_EXPIRATION, rare.expiration);
        }
        let mut entries = Entries::new();
        entries.comment(userdata::COMMENT, self.comment.as_ref());
        if self.interval_open {
            entries.number(userdata::ELEMENT_FLAGS, 1);
        }
        entries.raw(rare.map_or(&[], |rare| &rare.userdata));
        entries.put(NFTA_SET_ELEM_USERDATA, out);
        match (self.counter, self.expressions()) {
            (None, []) => {}
            (Some(counts), []) => out.nest(NFTA_SET_ELEM_EXPR, |out| counts.encode(out)),
            (None, [one]) => one.put(NFTA_SET_ELEM_EXPR, out),
            (counter, several) => out.nest(NFTA_SET_ELEM_EXPRESSIONS, |out| {
                let before = several.iter().take(self.counter_place());
                before.for_each(|one| one.put(NFTA_LIST_ELEM, out));
                if let Some(counts) = counter {
                    out.nest(NFTA_LIST_ELEM, |out| counts.encode(out));
                }
                let behind = several.iter().skip(self.counter_place());
                behind.for_each(|one| one.put(NFTA_LIST_ELEM, out));
            }),
        }
        if let Some(rare) = rare {
            rare.extra.put(out);
        }
    }

    /// Reads `NFTA_SET_ELEM_*` into an element that has nothing yet: it is too
    /// large to be carried around.
    pub(crate) fn read(&mut self, attrs: Attrs<'_>) -> Result<(), DecodeError> {
        for attribute in attrs {
            let attribute = attribute?;
            let kind = attribute.kind();
            if kind == NFTA_SET_ELEM_KEY {
                self.key = Data::get(NFTA_SET_ELEM_KEY, &attribute)?;
            } else if kind == NFTA_SET_ELEM_KEY_END {
                let last = Data::get(NFTA_SET_ELEM_KEY_END, &attribute)?;
                self.rare_mut().key_end = Some(last);
            } else if kind == NFTA_SET_ELEM_DATA {
                let value = Value::get(NFTA_SET_ELEM_DATA, &attribute)?;
                self.target = Target::Value(value);
            } else if kind == NFTA_SET_ELEM_OBJREF {
                let name = Name::get(NFTA_SET_ELEM_OBJREF, &attribute)?;
                self.target = Target::Object(name);
            } else if kind == NFTA_SET_ELEM_FLAGS {
                self.flags = attribute.get(NFTA_SET_ELEM_FLAGS)?;
            } else if kind == NFTA_SET_ELEM_TIMEOUT {
                self.rare_mut().timeout = Some(attribute.get(NFTA_SET_ELEM_TIMEOUT)?);
            } else if kind == NFTA_SET_ELEM_EXPIRATION {
                self.rare_mut().expiration = Some(attribute.get(NFTA_SET_ELEM_EXPIRATION)?);
            } else if kind == NFTA_SET_ELEM_USERDATA {
                self.read_userdata(attribute.payload());
            } else if kind == NFTA_SET_ELEM_EXPR {
                self.take(attribute.nested())?;
            } else if kind == NFTA_SET_ELEM_EXPRESSIONS {
                for one in attribute.nested() {
                    self.take(one?.nested())?;
                }
            } else {
                self.rare_mut().extra.keep(&attribute);
            }
        }
        if self.is_interval_end() {
            self.end_without_timeout();
        }
        if self.is_catch_all() && self.key != Data::EMPTY {
            return Err(DecodeError::Malformed {
                what: "element for every key that has one",
            });
        }
        Ok(())
    }

    /// Takes an expression: the first counter is told apart.
    fn take(&mut self, attrs: Attrs<'_>) -> Result<(), DecodeError> {
        match Expr::decode(attrs)? {
            Expr::Counter(counter) if self.counter.is_none() => self.set_counter((&counter).into()),
            other => self.rare_mut().expressions.push(other),
        }
        Ok(())
    }

    /// The kernel lists the set's timeout with the end of a range, and takes
    /// none back.
    fn end_without_timeout(&mut self) {
        if let Some(mut rare) = self.rare.take() {
            (rare.timeout, rare.expiration) = (None, None);
            self.rare = (*rare != Rare::default()).then_some(rare);
        }
    }

    fn read_userdata(&mut self, bytes: &[u8]) {
        for (kind, value) in userdata::read(bytes) {
            if kind == userdata::COMMENT
                && let Some(comment) = Comment::unchecked(value)
            {
                self.comment = Some(comment);
            } else if kind == userdata::ELEMENT_FLAGS && userdata::number(value) == Some(1) {
                self.interval_open = true;
            } else {
                let rest = &mut self.rare_mut().userdata;
                rest.extend([kind, u8::try_from(value.len()).unwrap_or_default()]);
                rest.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::nft::{Counts, L4Proto, Port};

    fn encode(element: &Element) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        element.encode(&mut out);
        out.finish().unwrap();
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Element, DecodeError> {
        let mut element = Element::new(Data::EMPTY);
        element.read(Attrs::new(bytes)).map(|()| element)
    }

    // The element's attributes as nft 1.0.6 sends them for
    //   nft add element inet t m '{ tcp . 8080 comment "web" : 172.16.0.2 . 80 }'
    // (strace -e trace=sendmsg -e write=3).
    #[cfg(target_endian = "little")]
    #[test]
    fn element_is_written_as_nft_writes_it() {
        let element = Element::new((L4Proto::TCP, Port(8080)))
            .data((Ipv4Addr::new(172, 16, 0, 2), Port(80)))
            .comment(Comment::constant("web"));
        let wanted = [
            16, 0, 1, 0x80, 12, 0, 1, 0, 6, 0, 0, 0, 0x1f, 0x90, 0, 0, // key
            16, 0, 2, 0x80, 12, 0, 1, 0, 172, 16, 0, 2, 0, 80, 0, 0, // data
            10, 0, 6, 0, 0, 4, b'w', b'e', b'b', 0, 0, 0, // userdata
        ];
        assert_eq!(encode(&element), wanted);
    }

    #[test]
    fn all_parts_of_an_element_are_read_back() {
        let element = Element::new(Ipv4Addr::LOCALHOST)
            .comment(Comment::constant("here"))
            .counter(Counts::new(1, 2))
            .expression(crate::nft::expr::Limit::new(1, 1))
            .timeout(1000)
            .interval_open();
        let bytes = encode(&element);
        assert_eq!(decode(&bytes).unwrap(), element);
        let all = Element::catch_all();
        let bytes = encode(&all);
        assert_eq!(decode(&bytes).unwrap(), all);
    }

    #[test]
    fn expressions_keep_their_order() {
        let limit = crate::nft::expr::Limit::new(1, 1);
        let behind = Element::new(Ipv4Addr::LOCALHOST)
            .expression(limit.clone())
            .counter(Counts::new(1, 2));
        let before = Element::new(Ipv4Addr::LOCALHOST)
            .counter(Counts::new(1, 2))
            .expression(limit);
        assert_ne!(encode(&behind), encode(&before));
        for element in [behind, before] {
            let bytes = encode(&element);
            assert_eq!(decode(&bytes).unwrap(), element);
        }
    }

    #[test]
    fn unknown_attributes_are_kept() {
        let bytes = crate::wire::laid_out(&[(8, 99, &[1, 2, 3, 4])]);
        let element = decode(&bytes).unwrap();
        assert!(encode(&element).ends_with(&bytes));
    }

    #[test]
    fn element_for_every_key_that_has_a_key_is_malformed() {
        let mut bytes = encode(&Element::catch_all());
        assert_eq!(decode(&bytes), Ok(Element::catch_all()));
        bytes.extend(encode(&Element::new(Port(80))));
        assert!(decode(&bytes).is_err());
    }
}
