"""Reads an archive by docs/format.md alone: proves it, then prints its tables and rows as JSON lines."""
import hashlib, json, sys, zlib


def check(fine, what):
    if not fine:
        sys.exit("not a whole archive: " + what)


def unpack(stored, size):
    raw = stored
    if stored[:2] == b"\x1f\x8b":
        member = zlib.decompressobj(31)
        raw = member.decompress(stored) + member.flush()
        check(member.eof and not member.unused_data, "a member does not end where it should")
    check(len(raw) == size, "a size differs")
    return raw


def part(file, offset, length, size, sha256):
    stored = file[offset:offset + length]
    check(hashlib.sha256(stored).hexdigest() == sha256, "the checksum at byte %d differs" % offset)
    return unpack(stored, size).decode().split("\n")[:-1]


def cell(value):
    if isinstance(value, dict) and "$text" in value:
        return value["$text"]
    if isinstance(value, dict) and "$hex" in value:
        return "hex " + value["$hex"]
    return value


def read(file):
    length = 241 if file[:2] == b"\x1f\x8b" else 218
    end = json.loads(unpack(file[-length:], 218))
    check(end["end"] == "pgkeep" and end["version"] == 1, "no end record")
    check(end["index_offset"] + end["index_length"] == len(file) - length, "the index does not fit")
    index = part(file, end["index_offset"], end["index_length"], end["index_bytes"], end["index_sha256"])
    at, header, rows = 0, None, {}
    for chunk in [json.loads(line)["chunk"] for line in index[:-1]]:
        check(chunk["offset"] == at, "a gap at byte %d" % at)
        at += chunk["length"]
        lines = part(file, chunk["offset"], chunk["length"], chunk["bytes"], chunk["sha256"])
        if chunk["kind"] == "header":
            header = json.loads(lines[0])
        else:
            check(len(lines) == chunk["rows"] + 1, "the number of rows at byte %d differs" % chunk["offset"])
            rows.setdefault(chunk["table"], []).append((chunk["range"], chunk["piece"], lines[1:]))
    check(at == end["index_offset"], "the chunks do not reach the index")
    for number, table in enumerate(header["tables"]):
        print(json.dumps([table["schema"], table["name"]]))
        for _, _, lines in sorted(rows.get(number, [])):
            for line in lines:
                print(json.dumps([cell(value) for value in json.loads(line)]))


read(open(sys.argv[1], "rb").read())
