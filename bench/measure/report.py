"""What was measured, and whether that is what the project wants: on the screen and in RESULTS.md."""

import os
import platform
import subprocess

from . import growth
from .databases import HERE
from .series import MB, clock, markdown, megabytes

RESULTS = os.path.join(HERE, "RESULTS.md")
GROWTH_HEADING = "## Growth\n"


def setting(bench):
    """The machine, the programs and the data."""
    databases = bench.databases
    version = subprocess.run([bench.pgkeep_path, "--version"], check=True, capture_output=True, text=True).stdout
    rows = int(
        databases.query(
            bench.large,
            "SELECT sum(reltuples)::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        )
    )
    return [
        f"{version.strip()}; Postgres {databases.query(bench.large, 'SHOW server_version')}, same machine",
        f"pg_dump and pg_restore {bench.pg_dump.version} of the server's; newest pg_dump with " + newest_versions(bench),
        f"{processor()}, {os.cpu_count()} cores, {memory()}; {platform.system()} {platform.release().split('-')[0]}",
        f"scale {bench.scale}: {round(rows, -3):,} rows in 8 tables, {databases.table_bytes(bench.large) / MB:,.0f} MB in the "
        f"server; many: {bench.many_tables:,} tables of 10 rows, 2 indexes each; small: 20 tables, 15,000 rows",
        f"medians of {bench.runs} runs (small ones of four times, single rows and --version of ten times as many) after one "
        f"that is not counted; {bench.jobs} jobs of both programs",
    ]


def newest_versions(bench):
    methods = {}
    for method in ("gzip:1", "none", "zstd:1", "lz4"):
        program = bench.newest(method)
        methods.setdefault(program.version if program else "no such program", []).append(method)
    return "; ".join(f"{' and '.join(names)}: {version}" for version, names in methods.items())


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GiB of memory"


def verdicts(bench, targets):
    """Every target, met or not, or why it was not judged."""
    head = ("what", "against", "quantity", "measured", "wanted", "verdict")
    rows = []
    for target in targets:
        value = target.value(bench.series)
        if value is not None:
            measured, verdict = target.quantity.show(value), "met" if target.bound.holds(value) else "MISSED"
        else:
            why = bench.skipped.get(target.what) or bench.skipped.get(target.against)
            measured, verdict = "", f"skipped: {why}" if why else "not measured"
        rows.append((target.what, target.against or "", target.quantity.name, measured, target.wanted(), verdict))
    return markdown(head, rows)


def measurements(bench, labels):
    head = ("what", "median", "fastest – slowest", "CPU", "server's CPU", "size", "peak memory")
    rows = []
    for label in labels:
        series = bench.series[label]
        size = megabytes(series.size) if series.size else ""
        rows.append(
            (
                label,
                clock(series.seconds),
                series.spread,
                clock(series.client_cpu),
                clock(series.server_cpu) if series.server_cpu >= 0.01 else "",
                size,
                megabytes(series.peak_bytes),
            )
        )
    return markdown(head, rows)


def save(main_text, growth_text):
    """Writes RESULTS.md; of its two halves, one that was not measured stays as it was."""
    old_main, old_growth = "", ""
    if os.path.exists(RESULTS):
        with open(RESULTS) as file:
            old_main, _, old_growth = file.read().partition(GROWTH_HEADING)
    main_text = main_text or old_main.strip()
    growth_text = growth_text or old_growth.strip()
    with open(RESULTS, "w") as file:
        file.write(main_text + "\n" + (f"\n{GROWTH_HEADING}\n{growth_text}\n" if growth_text else ""))
    print(f"\nsaved in {RESULTS}")


def main_half(setting_lines, verdict_lines, measured_lines):
    lines = [
        "# What bench/run measured",
        "",
        "Made by `bench/run --save`. Rows that name no program are pgkeep's; the programs took turns. Times are medians. CPU",
        "is that of the program with all its processes; the server's CPU is that of all the server's processes meanwhile. Peak",
        "memory is the largest of all runs, of pg_dump and pg_restore that of their largest process; 9 MB is the least that",
        "can be told.",
        "",
        *(f"- {line}" for line in setting_lines),
        "",
        "## Targets",
        "",
        *verdict_lines,
        "",
        "## Measured",
        "",
        *measured_lines,
    ]
    return "\n".join(lines)


def growth_half(setting_lines, verdict_lines, points):
    lines = [
        "Made by `bench/run --only growth --save` ([growth.json](growth.json)); the data set of above, smaller and larger.",
        "",
        *(f"- {line}" for line in setting_lines if not line.startswith("medians of")),
        "- medians of as many runs as the table says",
        "",
        "![Time and peak memory as the data grows](growth.svg)",
        "",
        *verdict_lines,
        "",
        *growth.table(points),
    ]
    return "\n".join(lines)
