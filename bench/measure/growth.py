"""Part `growth`: time and memory as the data grows and as jobs are added, and the plot of them.

Not among the parts that run by default: it makes databases of up to 10 GB, one at a time, and removes each again.
"""

import json
import os
import shutil

from . import plot, targets
from .databases import HERE
from .restores import restored
from .series import MB, clock, markdown, megabytes
from .workbench import Contestant

# What the rows of a size take up in the server at scale 1, nearly: 1.32 GB for 1.0 of the generator's own scale.
SIZES = (("0.1 GB", 0.08, (1, 2, 4)), ("1 GB", 0.8, (1, 2, 4)), ("5 GB", 4, (1, 2, 4)), ("10 GB", 8, (2,)))
# With indexes, twice (there is a copy), with an archive, and with the server's log.
DISK_BYTES, DISK_BYTES_BESIDE = 4.0e9, 5.0e9
PLOT = os.path.join(HERE, "growth.svg")
POINTS = os.path.join(HERE, "growth.json")


def growth(bench):
    for size, factor, jobs_of_size in SIZES:
        scale = factor * float(bench.scale)
        needed = DISK_BYTES * scale + DISK_BYTES_BESIDE
        free = shutil.disk_usage(bench.work).free
        if free < needed:
            why = f"{needed / 1e9:.0f} GB of disk are needed, {free / 1e9:.0f} GB are free"
            for program in (targets.GZIP, targets.ZSTD, targets.RESTORE):
                bench.skip(targets.grown(program, size), why)
            continue
        name = bench.databases.made("growth", "generate.sql", scale=f"{scale:g}")
        try:
            for jobs in jobs_of_size:
                measure(bench, name, size, jobs, rounds=min(bench.runs, 3) if factor < 1 else 1)
        finally:
            bench.databases.drop("copy")
            bench.databases.drop(name)


def measure(bench, name, size, jobs, rounds):
    table_bytes = bench.databases.table_bytes(name)
    print(f"\n== growth: {megabytes(table_bytes)} in the server, {jobs} job{'s' if jobs > 1 else ''}", flush=True)
    archive = bench.kept_backup(name)
    words = str(jobs)
    programs = {
        targets.GZIP: lambda: bench.backup(name, jobs=words),
        targets.ZSTD: lambda: bench.backup(name, "--compress", "zstd", jobs=words),
        targets.RESTORE: lambda: restored(bench, archive, words),
        targets.PG_DUMP: lambda: bench.dump(name, jobs=words),
    }
    checks = {targets.RESTORE: lambda first: bench.compare(name, "copy", hashes=False)}
    contestants = [
        Contestant(targets.grown(program, size, jobs), run, *([checks[program]] if program in checks else []))
        for program, run in programs.items()
    ]
    # Its backup has warmed the caches, as far as they can hold it.
    bench.turns(rounds, contestants, warm_up=False)
    bench.discard_kept()
    for program in programs:
        series = bench.series[targets.grown(program, size, jobs)]
        point = {"program": program, "jobs": jobs, "table_bytes": table_bytes, "seconds": round(series.seconds, 3)}
        point |= {"peak_bytes": series.peak_bytes, "client_cpu": round(series.client_cpu, 2)}
        bench.points.append(point | {"server_cpu": round(series.server_cpu, 2), "runs": rounds})


def table(points):
    head = ("program", "in the server", "jobs", "time", "CPU", "server's CPU", "peak memory", "runs")
    return markdown(
        head,
        [
            (
                point["program"],
                f"{point['table_bytes'] / MB:,.0f} MB",
                str(point["jobs"]),
                clock(point["seconds"]),
                clock(point["client_cpu"]),
                clock(point["server_cpu"]),
                megabytes(point["peak_bytes"]),
                str(point["runs"]),
            )
            for point in sorted(points, key=lambda point: (point["table_bytes"], point["program"], point["jobs"]))
        ],
    )


def save(points):
    with open(POINTS, "w") as file:
        file.write("[\n" + ",\n".join(f"  {json.dumps(point, ensure_ascii=False)}" for point in points) + "\n]\n")
    with open(PLOT, "w") as file:
        file.write(plot.svg(points))
