//! Whatever happens to the bytes of an archive is found: kind of damage × place × compression.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;

use archives::{ALL, Parts, check, complaint, header, sample};
use pgkeep::archive::compression::Compression;
use pgkeep::archive::model::ChunkKind;
use pgkeep::archive::{Archive, ArchiveError, Part};

#[test]
fn a_whole_archive_is_found_whole() {
    for compression in ALL {
        let report = check(&sample(compression)).unwrap();
        assert!(report.is_valid());
        assert_eq!((report.proven_chunks, report.proven_rows), (6, 10));
        assert_eq!(report.totals.table_rows, [5, 2, 0, 3]);
        assert_eq!(Parts::of(&sample(compression)).assemble(), sample(compression));
    }
}

fn every_flipped_bit_is_found(compression: Compression) {
    let whole = sample(compression);
    let chunks = Archive::from_bytes(whole.clone()).unwrap().chunks().to_vec();
    for bit in 0..whole.len() * 8 {
        let at = (bit / 8) as u64;
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let chunk = chunks.iter().find(|chunk| chunk.offset <= at && at < chunk.offset + chunk.length);
        match (check(&flipped), chunk.map(|chunk| chunk.kind)) {
            (Ok(report), Some(ChunkKind::Rows)) => {
                assert_eq!(report.damaged_chunks, 1, "bit {bit}");
                assert_eq!(Some(report.damage[0].offset), chunk.map(|chunk| chunk.offset));
                assert!(matches!(report.damage[0].part, Part::Rows { .. }));
            }
            (Err(ArchiveError::Damaged(damage)), Some(ChunkKind::Header)) => {
                assert_eq!((damage.part, damage.offset), (Part::Header, 0), "bit {bit}");
            }
            (Err(ArchiveError::Damaged(damage)), None) => {
                assert!(matches!(damage.part, Part::Index | Part::Trailer), "bit {bit}: {damage}");
            }
            (other, _) => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn every_flipped_bit_of_a_gzip_archive_is_found_and_its_place_named() {
    every_flipped_bit_is_found(Compression::Gzip(2));
}

#[test]
fn every_flipped_bit_of_a_zstd_archive_is_found_and_its_place_named() {
    every_flipped_bit_is_found(Compression::Zstd(1));
}

#[test]
fn every_flipped_bit_of_a_plain_archive_is_found_and_its_place_named() {
    every_flipped_bit_is_found(Compression::None);
}

#[test]
fn every_truncation_is_found_and_says_what_is_left() {
    for compression in ALL {
        let whole = sample(compression);
        let archive = Archive::from_bytes(whole.clone()).unwrap();
        for length in 0..whole.len() {
            let error = check(&whole[..length]).unwrap_err();
            let truncation = match error {
                ArchiveError::Empty if length == 0 => continue,
                ArchiveError::NotAnArchive { .. } if length < 4 => continue,
                ArchiveError::Truncated(truncation) => truncation,
                other => panic!("{compression}, {length} bytes: {other:?}"),
            };
            assert_eq!(truncation.ends_at, length as u64);
            let mut whole_chunks: Vec<_> = archive
                .chunks()
                .iter()
                .filter(|chunk| chunk.offset + chunk.length <= length as u64)
                .collect();
            // A plain chunk is known to be whole only when the first line after it is there.
            let index = archive.chunks().iter().map(|chunk| chunk.offset + chunk.length).max().unwrap();
            let next_line = whole[index as usize..].iter().position(|byte| *byte == b'\n').unwrap();
            if compression == Compression::None && length <= index as usize + next_line {
                let lines_after = |chunk: &&pgkeep::archive::model::Chunk| {
                    whole[(chunk.offset + chunk.length) as usize..length].contains(&b'\n')
                };
                whole_chunks.retain(lines_after);
            }
            match (truncation.whole, whole_chunks.last()) {
                (None, None) => {}
                (Some(found), Some(last)) => {
                    assert_eq!(found.ends_at, last.offset + last.length, "{compression}, {length} bytes");
                    assert_eq!(found.chunks + 1, whole_chunks.len() as u64);
                    let table = last.table.map(|table| archive.header().tables[table as usize].shown());
                    assert_eq!(found.table, table);
                }
                other => panic!("{compression}, {length} bytes: {other:?}"),
            }
        }
    }
}

/// Where each part of an archive lies: chunks, index, end record.
fn places(whole: &[u8]) -> Vec<std::ops::Range<usize>> {
    let archive = Archive::from_bytes(whole.to_vec()).unwrap();
    let mut places: Vec<_> = archive
        .chunks()
        .iter()
        .map(|chunk| chunk.offset as usize..(chunk.offset + chunk.length) as usize)
        .collect();
    let index = places.last().unwrap().end;
    let end_record = whole.len() - archives::end_record(archive.compression(), 0, b"", 0).len();
    places.extend([index..end_record, end_record..whole.len()]);
    places
}

#[test]
fn parts_that_are_zeroed_missing_repeated_or_swapped_are_found() {
    for compression in ALL {
        let whole = sample(compression);
        let places = places(&whole);
        for (number, place) in places.iter().enumerate() {
            let (before, part, after) = (&whole[..place.start], &whole[place.clone()], &whole[place.end..]);
            complaint(&[before, &vec![0; part.len()], after].concat());
            let middle = part.len() / 2;
            complaint(&[before, &part[..middle], &[0; 8], &part[middle + 8..], after].concat());
            complaint(&[before, &part[..middle], &part[middle + 1..], after].concat());
            complaint(&[before, &part[..middle], b"x", &part[middle..], after].concat());
            complaint(&[before, after].concat());
            complaint(&[before, part, part, after].concat());
            complaint(&[before, part, &vec![0; 512], after].concat());
            for other in &places[number + 1..] {
                let between = &whole[place.end..other.start];
                complaint(&[before, &whole[other.clone()], between, part, &whole[other.end..]].concat());
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_are_found_and_counted() {
    for compression in ALL {
        let whole = sample(compression);
        for garbage in [&b"\n"[..], b"garbage", &[0; 4096]] {
            let error = complaint(&[&whole, garbage].concat());
            let expected = format!("at byte {}: {} bytes follow the end", whole.len(), garbage.len());
            assert!(error.contains(&expected), "{error}");
        }
        // Two archives in one file: the end record of the second one leads nowhere.
        complaint(&[whole.clone(), whole].concat());
    }
}

#[test]
fn the_end_of_another_archive_is_found() {
    for compression in ALL {
        let whole = sample(compression);
        let mut other = Parts::of(&whole);
        let (last, raw) = (other.chunks.len() - 1, br#"[5,"last","0",false,[],-1]"#);
        let line = pgkeep::archive::writer::table_line(&header().tables[0]);
        other.set_raw(last, &[&line, &raw[..], b"\n"].concat());
        other.describe();
        let other = other.assemble();
        assert!(check(&other).unwrap().is_valid());
        let (places, others) = (places(&whole), places(&other));
        let (index, end) = (places.len() - 2, places.len() - 1);
        complaint(&[&whole[..places[index].start], &other[others[index].start..]].concat());
        complaint(&[&whole[..places[end].start], &other[others[end].start..]].concat());
    }
}

#[test]
fn all_damaged_chunks_are_listed_and_not_only_the_first() {
    for compression in ALL {
        let mut whole = sample(compression);
        let archive = Archive::from_bytes(whole.clone()).unwrap();
        let rows: Vec<_> = archive.chunks().iter().filter(|chunk| chunk.kind == ChunkKind::Rows).collect();
        for chunk in &rows {
            whole[(chunk.offset + chunk.length / 2) as usize] ^= 1;
        }
        let report = check(&whole).unwrap();
        assert_eq!(report.damaged_chunks, rows.len() as u64);
        let offsets: Vec<_> = report.damage.iter().map(|damage| damage.offset).collect();
        assert_eq!(offsets, rows.iter().map(|chunk| chunk.offset).collect::<Vec<_>>());
        let first = report.damage[0].to_string();
        assert!(first.starts_with("table users, chunk 1.0 at byte "), "{first}");
    }
}

#[test]
fn files_that_never_were_archives_are_told_from_damaged_ones() {
    let message = |bytes: &[u8]| complaint(bytes);
    assert_eq!(message(b""), "the file is empty");
    assert!(message(b"PGDMP\x01\x0e\0rest").contains("restore it with pg_restore"));
    assert!(message(b"--\n-- PostgreSQL database dump\n--\n").contains("run it with psql"));
    assert!(message(&[0; 9000]).contains("zeros"));
    assert_eq!(message(b"{\"name\": \"package\"}\n"), "not an archive of pgkeep");
    let gzip = |raw: &[u8]| archives::Compress::compress(Compression::Gzip(2), raw);
    assert!(message(&gzip(b"--\n-- PostgreSQL database dump\n")).contains("run it with psql"));
    assert_eq!(message(&gzip(b"hello")), "not an archive of pgkeep");
    assert!(message(&gzip(b"")).starts_with("the archive is truncated"));
    let zstd = archives::Compress::compress(Compression::Zstd(1), b"SELECT 1;");
    assert!(message(&zstd).contains("run it with psql"));
}
