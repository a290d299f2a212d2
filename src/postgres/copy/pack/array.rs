//! Arrays of one dimension that counts from 1, as nearly all are (`array_recv`).

use super::{Packing, Unsure, sized, value};

/// What an array is of. The OID stands in the array's binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `text`.
    Text,
    /// `bpchar`.
    Bpchar,
    /// `varchar`.
    Varchar,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    Timestamptz,
    /// `jsonb`.
    Jsonb,
}

impl Element {
    /// What the built-in array type with this OID is of.
    pub(super) fn of_array(oid: u32) -> Option<Element> {
        Some(match oid {
            1000 => Element::Bool,
            1005 => Element::Int2,
            1007 => Element::Int4,
            1009 => Element::Text,
            1014 => Element::Bpchar,
            1015 => Element::Varchar,
            1016 => Element::Int8,
            1021 => Element::Float4,
            1022 => Element::Float8,
            1115 => Element::Timestamp,
            1182 => Element::Date,
            1185 => Element::Timestamptz,
            1231 => Element::Numeric,
            2951 => Element::Uuid,
            3807 => Element::Jsonb,
            _ => return None,
        })
    }

    /// Its own OID, and how it is packed.
    fn packing(self) -> (u32, Packing) {
        match self {
            Element::Bool => (16, Packing::Bool),
            Element::Int2 => (21, Packing::Int2),
            Element::Int4 => (23, Packing::Int4),
            Element::Int8 => (20, Packing::Int8),
            Element::Text => (25, Packing::Text),
            Element::Bpchar => (1042, Packing::Text),
            Element::Varchar => (1043, Packing::Text),
            Element::Float4 => (700, Packing::Float4),
            Element::Float8 => (701, Packing::Float8),
            Element::Numeric => (1700, Packing::Numeric),
            Element::Uuid => (2950, Packing::Uuid),
            Element::Date => (1082, Packing::Date),
            Element::Timestamp => (1114, Packing::Timestamp),
            Element::Timestamptz => (1184, Packing::Timestamptz),
            Element::Jsonb => (3802, Packing::Jsonb),
        }
    }

    /// Writes the array that is printed as `text`, without its length.
    pub(super) fn array(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
        let (oid, packing) = self.packing();
        let inner = text.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).ok_or(Unsure)?;
        let start = out.len();
        let none = inner.is_empty();
        // Dimensions, whether there are NULLs, the type; then the dimension's length and first index.
        for part in [i32::from(!none), 0, oid as i32] {
            out.extend_from_slice(&part.to_be_bytes());
        }
        if none {
            return Ok(());
        }
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        let (mut count, mut nulls, mut at) = (0_i32, 0_i32, 0);
        let mut plain = Vec::new();
        loop {
            count = count.checked_add(1).ok_or(Unsure)?;
            let end = match inner.get(at) {
                Some(b'"') => {
                    let end = quoted(inner, at + 1, &mut plain)?;
                    sized(out, |out| value(packing, &plain, out))?;
                    end
                }
                _ => {
                    let end = bare_end(inner, at)?;
                    let token = inner.get(at..end).unwrap_or_default();
                    if token.eq_ignore_ascii_case(b"null") {
                        nulls = 1;
                        out.extend_from_slice(&(-1_i32).to_be_bytes());
                    } else {
                        sized(out, |out| value(packing, token, out))?;
                    }
                    end
                }
            };
            match inner.get(end) {
                None => break,
                Some(b',') => at = end + 1,
                Some(_) => return Err(Unsure),
            }
        }
        out.get_mut(start + 4..start + 8).ok_or(Unsure)?.copy_from_slice(&nulls.to_be_bytes());
        out.get_mut(start + 12..start + 16).ok_or(Unsure)?.copy_from_slice(&count.to_be_bytes());
        Ok(())
    }
}

/// Reads the quoted element behind the quote at `at - 1` into `plain`; returns where it ends.
fn quoted(text: &[u8], mut at: usize, plain: &mut Vec<u8>) -> Result<usize, Unsure> {
    plain.clear();
    loop {
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                plain.push(*text.get(at + 1).ok_or(Unsure)?);
                at += 2;
            }
            Some(byte) => {
                plain.push(*byte);
                at += 1;
            }
            None => return Err(Unsure),
        }
    }
}

/// Where the element ends that stands without quotes: it is not empty, and holds nothing that would need them.
fn bare_end(text: &[u8], at: usize) -> Result<usize, Unsure> {
    let mut end = at;
    while let Some(byte) = text.get(end).filter(|byte| **byte != b',') {
        // A brace is another dimension's.
        if matches!(byte, b'{' | b'}' | b'"' | b'\\' | b' ' | b'\t'..=b'\r') {
            return Err(Unsure);
        }
        end += 1;
    }
    if end > at { Ok(end) } else { Err(Unsure) }
}
