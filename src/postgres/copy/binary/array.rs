//! Arrays: the form of `array_send`, the spelling of `array_out`.

use super::{CopyProblem, LastDay, Malformed, Server, Wire, integer};

/// As many dimensions as Postgres takes (`MAXDIM`).
const MOST_DIMENSIONS: usize = 6;

/// Takes values off the front of a form.
struct Front<'a>(&'a [u8]);

impl<'a> Front<'a> {
    fn int(&mut self) -> Result<i32, Malformed> {
        let (value, rest) = self.0.split_first_chunk::<4>().ok_or(CopyProblem::Malformed)?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*value))
    }

    /// An element; none for NULL.
    fn value(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| CopyProblem::Malformed)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(CopyProblem::Malformed)?;
        self.0 = rest;
        Ok(Some(value))
    }
}

impl Server {
    /// Writes an array.
    pub(super) fn array(
        self,
        value: &[u8],
        last_day: &mut LastDay,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut front = Front(value);
        let dimensions = usize::try_from(front.int()?).map_err(|_| CopyProblem::Malformed)?;
        let _has_nulls = front.int()?;
        let element = Wire::element(front.int()? as u32).ok_or(CopyProblem::Malformed)?;
        if dimensions > MOST_DIMENSIONS {
            return Err(CopyProblem::Malformed);
        }
        let mut lengths = [0_usize; MOST_DIMENSIONS];
        let mut bounds = [1_i32; MOST_DIMENSIONS];
        for (length, bound) in lengths.iter_mut().zip(&mut bounds).take(dimensions) {
            *length = usize::try_from(front.int()?).map_err(|_| CopyProblem::Malformed)?;
            *bound = front.int()?;
        }
        let lengths = &lengths[..dimensions];
        if dimensions == 0 || lengths.contains(&0) {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        if bounds[..dimensions].iter().any(|bound| *bound != 1) {
            for (bound, length) in bounds.iter().zip(lengths) {
                out.push(b'[');
                integer(*bound, out);
                out.push(b':');
                integer(i64::from(*bound) + *length as i64 - 1, out);
                out.push(b']');
            }
            out.push(b'=');
        }
        // How many elements have been written in each dimension.
        let mut places = [0_usize; MOST_DIMENSIONS];
        let places = &mut places[..dimensions];
        out.resize(out.len() + dimensions, b'{');
        let mut text = Vec::new();
        loop {
            text.clear();
            match front.value()? {
                None => out.extend_from_slice(b"NULL"),
                Some(value) => {
                    self.text(element, value, last_day, &mut text)?;
                    quoted(&text, out);
                }
            }
            let mut closed = 0;
            for (place, length) in places.iter_mut().zip(lengths).rev() {
                *place += 1;
                if *place < *length {
                    break;
                }
                *place = 0;
                closed += 1;
                out.push(b'}');
            }
            if closed == dimensions {
                break;
            }
            out.push(b',');
            out.resize(out.len() + closed, b'{');
        }
        if front.0.is_empty() { Ok(()) } else { Err(CopyProblem::Malformed) }
    }
}

/// Writes an element's text, in quotes where it needs them.
fn quoted(text: &[u8], out: &mut Vec<u8>) {
    if !needs_quotes(text) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Whether an element's text would be taken for something else without quotes (manual, 8.15.6).
fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|byte| {
            matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
        })
}
