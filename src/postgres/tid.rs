//! Where rows stand in a heap.

use std::fmt;

/// A row's `ctid`: its block, and its item within the block (manual, 8.19 and 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid {
    /// The block, counted from 0.
    pub block: u32,
    /// The item, counted from 1; 0 is before all of them.
    pub item: u16,
}

impl Tid {
    /// What `tidsend` makes: block, item.
    pub fn from_binary(bytes: [u8; 6]) -> Tid {
        let [a, b, c, d, e, f] = bytes;
        Tid { block: u32::from_be_bytes([a, b, c, d]), item: u16::from_be_bytes([e, f]) }
    }

    /// What `tidout` makes: `(block,item)`.
    pub fn from_text(text: &[u8]) -> Option<Tid> {
        let inner = text.strip_prefix(b"(")?.strip_suffix(b")")?;
        let (block, item) = std::str::from_utf8(inner).ok()?.split_once(',')?;
        Some(Tid { block: block.parse().ok()?, item: item.parse().ok()? })
    }

    /// What a row has to meet to be one of these, by its `ctid` column's name in the query. The server reads no other pages
    /// for it, in any version.
    pub fn among(tids: &[Tid], column: &str) -> String {
        let list: Vec<String> = tids.iter().map(|tid| format!("\"{tid}\"")).collect();
        format!("{column} OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.tid[])", list.join(","))
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.block, self.item)
    }
}

/// Rows of a heap: from `first` to before `end`, or to the last one there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TidRange {
    /// The first place.
    pub first: Tid,
    /// The first place that is not in it; none: all that follow are.
    pub end: Option<Tid>,
}

impl TidRange {
    /// What follows the table's name to mean these rows. From version 14 on the server reads no other pages for it.
    pub fn condition(&self) -> String {
        let literal = |tid: Tid| format!("'{tid}'::pg_catalog.tid");
        let first = format!("ctid >= {}", literal(self.first));
        match (self.first, self.end) {
            (Tid { block: 0, item: 0 }, None) => String::new(),
            (_, None) => format!(" WHERE {first}"),
            (_, Some(end)) => format!(" WHERE {first} AND ctid < {}", literal(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_server_are_read() {
        let tid = Tid { block: 4_294_967_294, item: 291 };
        assert_eq!(Tid::from_text(b"(4294967294,291)"), Some(tid));
        assert_eq!(Tid::from_binary([0xff, 0xff, 0xff, 0xfe, 0x01, 0x23]), tid);
        for wrong in ["", "()", "(1)", "(1,2", "1,2)", "(1,2,3)", "(-1,2)", "(1,70000)", "(4294967296,1)"] {
            assert_eq!(Tid::from_text(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn rows_are_named_one_by_one() {
        let tids = [Tid { block: 0, item: 1 }, Tid { block: 7, item: 12 }];
        let condition = "t.ctid OPERATOR(pg_catalog.=) ANY ('{\"(0,1)\",\"(7,12)\"}'::pg_catalog.tid[])";
        assert_eq!(Tid::among(&tids, "t.ctid"), condition);
    }

    #[test]
    fn a_range_names_its_bounds_where_it_has_some() {
        let (first, end) = (Tid { block: 2, item: 3 }, Some(Tid { block: 5, item: 0 }));
        let (from, to) = ("ctid >= '(2,3)'::pg_catalog.tid", "ctid < '(5,0)'::pg_catalog.tid");
        assert_eq!(TidRange::default().condition(), "");
        assert_eq!(TidRange { first, end: None }.condition(), format!(" WHERE {from}"));
        assert_eq!(TidRange { first, end }.condition(), format!(" WHERE {from} AND {to}"));
    }
}
