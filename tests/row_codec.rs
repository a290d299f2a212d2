//! COPY text → JSON → COPY text gives the same bytes, and no bytes at all make the codec panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pgkeep::postgres::copy::{CopyError, RowDecoder, RowEncoder};
use pgkeep::row::{self, CellForm, Cells};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use CellForm::{Boolean, Json, Number, Text};

/// A row as `COPY … TO` prints it, without its line break. Written from the manual, apart from the codec.
fn copy_text(values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let cells: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            let Some(value) = value else { return b"\\N".to_vec() };
            let mut cell = Vec::new();
            for byte in value {
                match byte {
                    0x08 => cell.extend(b"\\b"),
                    0x09 => cell.extend(b"\\t"),
                    0x0a => cell.extend(b"\\n"),
                    0x0b => cell.extend(b"\\v"),
                    0x0c => cell.extend(b"\\f"),
                    0x0d => cell.extend(b"\\r"),
                    b'\\' => cell.extend(b"\\\\"),
                    _ => cell.push(*byte),
                }
            }
            cell
        })
        .collect();
    cells.join(&b'\t')
}

fn encode(forms: &[CellForm], copy: &[u8]) -> Result<Vec<u8>, CopyError> {
    let mut out = b"before".to_vec();
    let done = RowEncoder::new(forms.to_vec()).encode(copy, &mut out);
    assert!(out.starts_with(b"before"));
    if done.is_err() {
        assert_eq!(out, b"before", "an error leaves nothing behind");
    }
    done.map(|()| out.split_off(6))
}

fn decode(forms: &[CellForm], line: &[u8]) -> Result<Vec<u8>, CopyError> {
    let mut out = b"before".to_vec();
    let done = RowDecoder::new(forms.to_vec()).decode(line, &mut out);
    assert!(out.starts_with(b"before"));
    if done.is_err() {
        assert_eq!(out, b"before", "an error leaves nothing behind");
    }
    done.map(|()| out.split_off(6))
}

/// Encodes one value and decodes it again; returns the cell.
fn cell(form: CellForm, value: Option<&[u8]>) -> String {
    let copy = copy_text(&[value.map(<[u8]>::to_vec)]);
    let line = encode(&[form], &copy).unwrap();
    row::check(&line, 1).unwrap();
    assert_eq!(decode(&[form], &line).unwrap(), [&copy[..], b"\n"].concat());
    let line = String::from_utf8(line).unwrap();
    line.strip_prefix('[').unwrap().strip_suffix(']').unwrap().to_owned()
}

fn form() -> impl Strategy<Value = CellForm> {
    prop_oneof![Just(Text), Just(Number), Just(Boolean), Just(Json)]
}

/// Values near what the codec decides upon.
fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let json = prop::sample::select(vec![
        "null",
        "true",
        "\"\"",
        "\"\\\\N\"",
        "{\"$text\": 1}",
        "{\"$hex\": \"00\"}",
        "{\"$",
        "{\"a\": [1.50, null]}",
        " 1",
        "1 ",
        "[1,\n2]",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "1e999",
        "-0",
        "NaN",
        "t",
        "f",
        "\\N",
        "\\.",
        "\\",
    ]);
    option::weighted(
        0.9,
        prop_oneof![
            vec(1..=255_u8, 0..40),
            vec(prop::sample::select(b"\\\"\t\n\x0b\x01N.{}[]$:, \xc3\xa9x7a0-".to_vec()), 0..12),
            any::<String>().prop_map(|text| text.replace('\0', "").into_bytes()),
            "-?[0-9]{1,20}(\\.[0-9]{0,20})?(e[+-]?[0-9]{1,3})?".prop_map(String::into_bytes),
            json.prop_map(|text| text.as_bytes().to_vec()),
            nested(),
        ],
    )
}

/// JSON as `jsonb` prints it, more or less.
fn nested() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec(("\\$?[a-z]{0,4}", inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_row_that_postgres_can_print_comes_back(cells in vec((form(), value()), 0..8)) {
        let (forms, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        let copy = copy_text(&values);
        let line = encode(&forms, &copy).unwrap();
        prop_assert!(!line.contains(&b'\n'));
        row::check(&line, forms.len()).unwrap();
        serde_json::from_slice::<IgnoredAny>(&line).unwrap();
        prop_assert_eq!(Cells::new(&line).count(), forms.len());
        prop_assert_eq!(decode(&forms, &line).unwrap(), [&copy[..], b"\n"].concat());
    }

    #[test]
    fn another_json_reader_sees_the_same_values(cells in vec((form(), value()), 1..8)) {
        let (forms, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        let line = encode(&forms, &copy_text(&values)).unwrap();
        for ((form, value), cell) in forms.iter().zip(&values).zip(Cells::new(&line)) {
            // Numbers inside a jsonb value may be beyond what a double holds.
            let cell = cell.unwrap();
            let Ok(seen) = serde_json::from_slice::<Value>(cell) else {
                prop_assert_eq!(*form, Json);
                continue;
            };
            match (value, &seen) {
                (None, seen) => prop_assert!(seen.is_null()),
                (Some(value), Value::String(text)) if *form != Json => prop_assert_eq!(text.as_bytes(), &value[..]),
                (Some(value), Value::Bool(truth)) if *form == Boolean => {
                    prop_assert_eq!(&value[..], if *truth { b"t" } else { b"f" });
                }
                // serde_json itself is one unit off in the last place of some doubles, so the text is compared.
                (Some(value), Value::Number(_)) if *form == Number => prop_assert_eq!(cell, &value[..]),
                (Some(value), Value::Object(wrapped)) if wrapped.contains_key("$hex") && wrapped.len() == 1 => {
                    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                    prop_assert_eq!(wrapped["$hex"].as_str().unwrap(), hex);
                    prop_assert!(std::str::from_utf8(value).is_err());
                }
                (Some(value), Value::Object(wrapped)) if wrapped.contains_key("$text") && wrapped.len() == 1 => {
                    prop_assert_eq!(*form, Json);
                    prop_assert_eq!(wrapped["$text"].as_str().unwrap().as_bytes(), &value[..]);
                }
                (Some(value), seen) => {
                    prop_assert_eq!(*form, Json);
                    prop_assert_eq!(seen, &serde_json::from_slice::<Value>(value).unwrap());
                }
            }
        }
    }

    #[test]
    fn encoding_any_bytes_gives_a_row_or_an_error(forms in vec(form(), 0..5), copy in vec(any::<u8>(), 0..60)) {
        if let Ok(line) = encode(&forms, &copy) {
            row::check(&line, forms.len()).unwrap();
            let printed = decode(&forms, &line).unwrap();
            // Not the same line: a number that was given by escapes is a string the first time.
            let again = encode(&forms, printed.strip_suffix(b"\n").unwrap()).unwrap();
            prop_assert_eq!(decode(&forms, &again).unwrap(), printed);
        }
    }

    #[test]
    fn encoding_odd_escapes_gives_a_row_or_an_error(
        forms in vec(form(), 0..4),
        copy in vec(prop::sample::select(b"\\\\\\\t\"x0137aFNbnv.\xc3\xa9\n\0[]".to_vec()), 0..24),
    ) {
        if let Ok(line) = encode(&forms, &copy) {
            row::check(&line, forms.len()).unwrap();
            let printed = decode(&forms, &line).unwrap();
            // Not the same line: a number that was given by escapes is a string the first time.
            let again = encode(&forms, printed.strip_suffix(b"\n").unwrap()).unwrap();
            prop_assert_eq!(decode(&forms, &again).unwrap(), printed);
        }
    }

    #[test]
    fn decoding_any_bytes_gives_a_row_or_an_error(
        forms in vec(form(), 0..4),
        line in prop_oneof![
            vec(any::<u8>(), 0..60),
            vec(prop::sample::select(b"[]{},:\"\"\\ntrfuld8c0e1.-$hex \xc3\xa9\t\n".to_vec()), 0..40),
        ],
    ) {
        let decoded = decode(&forms, &line);
        let checked = row::check(&line, forms.len());
        prop_assert!(decoded.is_err() || checked.is_ok(), "the decoder takes only rows");
        prop_assert_eq!(checked.is_ok(), reads(&line, forms.len()));
        if let Ok(copy) = decoded {
            encode(&forms, copy.strip_suffix(b"\n").unwrap()).unwrap();
        }
    }

    #[test]
    fn a_row_that_is_changed_anywhere_is_decoded_or_refused(
        cells in vec((form(), value()), 1..5), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let (forms, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        let mut line = encode(&forms, &copy_text(&values)).unwrap();
        let at = at.index(line.len());
        line[at] = byte;
        let decoded = decode(&forms, &line);
        let checked = row::check(&line, forms.len());
        prop_assert!(decoded.is_err() || checked.is_ok());
        let mut out = Vec::new();
        let names = vec!["a"; forms.len()];
        prop_assert_eq!(row::object(&names, &line, &mut out).is_ok(), checked.is_ok());
    }
}

/// Whether serde_json reads `line` as an array of `columns` values, with the rule that a row is one line.
fn reads(line: &[u8], columns: usize) -> bool {
    let valid =
        serde_json::from_slice::<Vec<Box<IgnoredAny>>>(line).is_ok_and(|cells| cells.len() == columns);
    // IgnoredAny passes over strings without looking for UTF-8 and lone surrogates; Value looks.
    let strings = match serde_json::from_slice::<Value>(line) {
        Ok(_) => true,
        Err(error) => error.to_string().contains("number out of range"),
    };
    valid && strings && std::str::from_utf8(line).is_ok() && !line.contains(&b'\n')
}

#[test]
fn text_is_a_string_with_few_escapes() {
    assert_eq!(cell(Text, None), "null");
    assert_eq!(cell(Text, Some(b"")), r#""""#);
    assert_eq!(cell(Text, Some(b"\\N")), r#""\\N""#);
    assert_eq!(cell(Text, Some(b"\\.")), r#""\\.""#);
    assert_eq!(cell(Text, Some(b"null")), r#""null""#);
    assert_eq!(
        cell(Text, Some(b"\x01\x08\t\n\x0b\x0c\r\x1f\x7f\"/\\")),
        "\"\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\\\"/\\\\\""
    );
    assert_eq!(cell(Text, Some("é\u{2028}𝄞\u{ffff}e\u{301}".as_bytes())), "\"é\u{2028}𝄞\u{ffff}e\u{301}\"");
    assert_eq!(cell(Text, Some(b"caf\xe9\n")), r#"{"$hex":"636166e90a"}"#);
    assert_eq!(cell(Text, Some(b"{\"$hex\":\"ff\"}")), r#""{\"$hex\":\"ff\"}""#);
}

#[test]
fn every_length_and_every_place_of_a_special_byte_comes_back() {
    for length in 0..40 {
        for special in *b"\"\\\t\n\x01\x1f\x7f\x80\xffa" {
            for at in 0..length {
                let mut value = vec![b'a'; length];
                value[at] = special;
                for form in [Text, Number, Boolean, Json] {
                    cell(form, Some(&value));
                }
            }
        }
    }
}

#[test]
fn numbers_stay_bare_where_a_double_keeps_them() {
    for text in ["0", "-7", "123456789012345", "1.5", "-0.25", "1e+20", "5e-324", "0.1"] {
        assert_eq!(cell(Number, Some(text.as_bytes())), text);
        assert_eq!(cell(Text, Some(text.as_bytes())), format!("\"{text}\""));
    }
    for text in
        ["9223372036854775807", "1234567890123456", "-0", "-0.0", "NaN", "Infinity", "-Infinity", "", "007"]
    {
        assert_eq!(cell(Number, Some(text.as_bytes())), format!("\"{text}\""));
    }
    assert_eq!(cell(Number, None), "null");
    assert_eq!(cell(Number, Some(b"\xff")), r#"{"$hex":"ff"}"#);
}

#[test]
fn booleans_are_booleans() {
    assert_eq!(cell(Boolean, Some(b"t")), "true");
    assert_eq!(cell(Boolean, Some(b"f")), "false");
    assert_eq!(cell(Boolean, Some(b"true")), r#""true""#);
    assert_eq!(cell(Boolean, Some(b"")), r#""""#);
    assert_eq!(cell(Boolean, None), "null");
}

#[test]
fn jsonb_is_embedded_unless_it_would_be_taken_for_something_else() {
    for text in [
        "{}",
        "[]",
        "\"a\"",
        "1.500",
        "true",
        r#"{"a": "x\\y\n\"é", "b": [1, null]}"#,
        "{\"\": {\"$text\": 1}}",
    ] {
        assert_eq!(cell(Json, Some(text.as_bytes())), text);
    }
    assert_eq!(cell(Json, None), "null");
    assert_eq!(cell(Json, Some(b"null")), r#"{"$text":"null"}"#);
    assert_eq!(cell(Json, Some(b"{\"$text\": 1}")), r#"{"$text":"{\"$text\": 1}"}"#);
    assert_eq!(cell(Json, Some(b"{\"$hex\": \"x\"}")), r#"{"$text":"{\"$hex\": \"x\"}"}"#);
    assert_eq!(cell(Json, Some(b"")), r#"{"$text":""}"#);
    assert_eq!(cell(Json, Some(b"[1,\n2]")), r#"{"$text":"[1,\n2]"}"#);
    assert_eq!(cell(Json, Some(b" 1")), r#"{"$text":" 1"}"#);
    assert_eq!(cell(Json, Some(b"1 2")), r#"{"$text":"1 2"}"#);
    assert_eq!(cell(Json, Some(b"\"\xff\"")), r#"{"$hex":"22ff22"}"#);
}

#[test]
fn jsonb_may_be_nested_deeply() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(cell(Json, Some(&deep)).len(), 200_000);
    let wrapped = [b"{\"$\":".repeat(50_000), b"1".to_vec(), b"}".repeat(50_000)].concat();
    assert!(cell(Json, Some(&wrapped)).starts_with("{\"$text\":\""));
}

#[test]
fn rows_of_no_and_of_many_columns_come_back() {
    assert_eq!(encode(&[], b"").unwrap(), b"[]");
    assert_eq!(decode(&[], b" [ ] ").unwrap(), b"\n");
    assert_eq!(encode(&[Text], b"").unwrap(), b"[\"\"]");
    assert_eq!(decode(&[Text], b"[\"\"]").unwrap(), b"\n");
    let forms = vec![Text; 1600];
    let copy = b"\t".repeat(1599);
    let line = encode(&forms, &copy).unwrap();
    assert_eq!(decode(&forms, &line).unwrap(), [&copy[..], b"\n"].concat());
}

#[test]
fn escapes_that_copy_reads_but_never_prints_are_understood() {
    let forms = [Text, Text, Json];
    assert_eq!(
        encode(&forms, b"\\101\\x42\\x4g\\xg\t\\q\\\t\\\"\\N\\v\t\\x31").unwrap(),
        b"[\"AB\\u0004gxg\",\"q\\t\\\"N\\u000b\",1]"
    );
    assert_eq!(encode(&[Text], b"\\303\\251\\xc3\\xA9").unwrap(), "[\"éé\"]".as_bytes());
    assert_eq!(encode(&[Text], b"\\777\\1012").unwrap(), b"[{\"$hex\":\"ff4132\"}]");
    assert_eq!(encode(&[Json], b"\"\\303\"").unwrap(), b"[{\"$hex\":\"22c322\"}]");
    assert_eq!(encode(&[Number], b"\\61").unwrap(), b"[\"1\"]");
}

#[test]
fn rows_that_postgres_cannot_have_printed_are_refused_with_column_and_byte() {
    let refusal = |forms: &[CellForm], copy: &[u8]| encode(forms, copy).unwrap_err().to_string();
    assert_eq!(refusal(&[Text, Text], b"secret"), "column 2, byte 6: the row ends before this column");
    assert_eq!(refusal(&[Text], b"secret\tx"), "column 2, byte 6: the row goes on after the last column");
    assert_eq!(refusal(&[], b"x"), "column 1, byte 0: the row goes on after the last column");
    assert_eq!(refusal(&[Text], b"secret\\"), "column 1, byte 6: the row ends in a backslash");
    for nul in [&b"a\0"[..], b"a\\0", b"a\\x00", b"a\\400", b"a\\\0"] {
        for form in [Text, Number, Boolean, Json] {
            assert!(refusal(&[form], nul).ends_with("a NUL character"));
        }
    }
}

#[test]
fn hand_written_rows_are_decoded_by_their_meaning() {
    let line =
        br#" [ "\u00e9\ud834\udd1e\/\u005c\u0009\u000B" , 12 , true , { "a" :	1 } , {"$text" : "null" } ] "#;
    assert_eq!(
        decode(&[Text, Text, Text, Json, Json], line).unwrap(),
        "é𝄞/\\\\\\t\\v\t12\tt\t{ \"a\" :\\t1 }\tnull\n".as_bytes()
    );
    assert_eq!(decode(&[Text], br#"[{"$text":"a\\b"}]"#).unwrap(), b"a\\\\b\n");
    assert_eq!(decode(&[Number], br#"[{"$hex":"4AfF"}]"#).unwrap(), b"J\xff\n");
    assert_eq!(decode(&[Json], br#"["\u0041\n"]"#).unwrap(), b"\"\\\\u0041\\\\n\"\n");
}

#[test]
fn rows_that_the_encoder_cannot_have_written_are_refused() {
    for (form, line) in [
        (Text, &br#"["\u0000"]"#[..]),
        (Text, br#"["\ud800"]"#),
        (Text, b"[[1]]"),
        (Text, br#"[{"a":1}]"#),
        (Json, br#"[{"$other":1}]"#),
        (Json, br#"[{"$text":1}]"#),
        (Json, br#"[{"$text":"1","x":1}]"#),
        (Json, br#"[{"$text":"\u0000"}]"#),
        (Text, br#"[{"$hex":"0"}]"#),
        (Text, br#"[{"$hex":"zz"}]"#),
        (Text, br#"[{"$hex":"00"}]"#),
        (Text, b"[\"a\nb\"]"),
        (Text, b"[\"\xff\"]"),
        (Text, b"[1,2]"),
        (Text, b"[]"),
        (Text, b"[1] x"),
        (Text, b"1"),
        (Text, b""),
    ] {
        assert!(decode(&[form], line).is_err(), "{}", String::from_utf8_lossy(line));
    }
    let error = decode(&[Text, Text], b"[\"secret\",[\"secret\"]]").unwrap_err();
    assert_eq!(error.to_string(), "column 2, byte 10: an array or object where a text must stand");
}

#[test]
fn a_column_has_the_form_of_its_base_type() {
    for (oid, form) in [(16, Boolean), (20, Number), (21, Number), (23, Number), (26, Number), (700, Number)]
    {
        assert_eq!(CellForm::of_type(oid), form);
    }
    assert_eq!(CellForm::of_type(701), Number);
    assert_eq!(CellForm::of_type(3802), Json);
    // numeric, json, text, and whatever comes later
    for oid in [1700, 114, 25, 0, u32::MAX] {
        assert_eq!(CellForm::of_type(oid), Text);
    }
}
