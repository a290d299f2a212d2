//! No bytes make the row codec panic, and what it accepts in one direction comes back from the other.
//!
//! The first byte gives the number of columns, and that many further bytes their forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgkeep::postgres::copy::{RowDecoder, RowEncoder};
use pgkeep::row::{self, CellForm};

const FORMS: [CellForm; 4] = [CellForm::Text, CellForm::Number, CellForm::Boolean, CellForm::Json];

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let count = usize::from(*count % 8).min(rest.len());
    let (kinds, row) = rest.split_at(count);
    let forms: Vec<CellForm> = kinds.iter().map(|kind| FORMS[usize::from(*kind % 4)]).collect();
    let encoder = RowEncoder::new(forms.clone());
    let decoder = RowDecoder::new(forms);
    let comes_back = |copy: &[u8]| {
        let mut line = Vec::new();
        encoder
            .encode(copy.strip_suffix(b"\n").unwrap(), &mut line)
            .expect("the encoder reads what the decoder writes");
        let mut again = Vec::new();
        decoder.decode(&line, &mut again).expect("the decoder reads what the encoder writes");
        assert_eq!(again, copy);
    };

    // As a COPY row: its line is a row, and as COPY prints it, it comes back.
    let mut line = Vec::new();
    if encoder.encode(row, &mut line).is_ok() {
        row::check(&line, count).expect("the encoder writes rows");
        let mut copy = Vec::new();
        decoder.decode(&line, &mut copy).expect("the decoder reads what the encoder writes");
        comes_back(&copy);
    }

    // As a row line: what the decoder takes is a row, and comes back.
    let checked = row::check(row, count);
    let mut copy = Vec::new();
    if decoder.decode(row, &mut copy).is_ok() {
        checked.expect("the decoder takes only rows");
        comes_back(&copy);
    }
    let mut shown = Vec::new();
    let names = vec!["column"; count];
    let _ = row::object(&names, row, &mut shown);
});
