//! The bytes of large objects as statements of a script.

use std::io::Write;

use super::ExportError;
use super::rows::{Rows, fields, lines, value};
use crate::failure::{Failure, FailureKind};

/// Writes the pieces of all large objects, which the table with that number holds; where nothing else in the script
/// makes them, `make` those that are missing. Returns how many pieces there were.
///
/// What an archive says is taken for what it must be, numbers and hexadecimal digits, and for nothing else.
pub fn write(rows: &Rows<'_>, index: u32, make: bool, out: &mut dyn Write) -> Result<u64, ExportError> {
    let refused = || {
        let what = "a piece of a large object is not what it must be (loid, position, data)";
        ExportError::Failure(Failure::new(FailureKind::Archive, what))
    };
    let mut held = Vec::new();
    let mut last = None;
    rows.each(index, |text| {
        for row in lines(text) {
            let mut values = Vec::with_capacity(3);
            for field in fields(row) {
                held.clear();
                if !value(field, &mut held) {
                    return Err(refused());
                }
                values.push(String::from_utf8(held.clone()).map_err(|_| refused())?);
            }
            let [loid, position, data] = values.as_slice() else { return Err(refused()) };
            let loid: u32 = loid.parse().map_err(|_| refused())?;
            let position: u64 = position.parse().map_err(|_| refused())?;
            let digits = data.strip_prefix("\\x").ok_or_else(refused)?;
            if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(refused());
            }
            if make && last != Some(loid) {
                writeln!(
                    out,
                    "SELECT pg_catalog.lo_create({loid}) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = {loid});"
                )?;
            }
            last = Some(loid);
            writeln!(out, "SELECT pg_catalog.lo_put({loid}, {position}, '\\x{digits}');")?;
        }
        Ok(())
    })
}
