"""Runs the parts that were asked for, and reports."""

import argparse
import sys

from . import applications, backups, comparing, entities, growth, reading, report, restores, targets
from .process import Failed
from .workbench import Workbench

PARTS = {
    "backup": (backups.backup, "backup of the large database"),
    "table": (backups.table, "backup of one big table alone"),
    "restore": (restores.restore, "restore into an empty database"),
    "safe": (restores.safe, "restore --safe over identical data"),
    "validate": (reading.validate, "validate"),
    "diff": (comparing.diff, "diff and dry run over identical data"),
    "show": (reading.show, "start-up, and one row of a large archive"),
    "small": (applications.small, "20 tables, 15,000 rows"),
    "many": (applications.many, "many tables with 2 indexes each"),
    "entity": (entities.entity, "one wedding out of 10 million rows"),
    "growth": (growth.growth, "growth"),
}
USUAL = [part for part in PARTS if part not in ("entity", "growth")]


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run")
    own = argparse.SUPPRESS
    for name in ("pgkeep", "postgres", "psql", "server", "work", "scale"):
        parser.add_argument(f"--{name}", required=True, help=own)
    parser.add_argument("--server-pid", type=int, required=True, help=own)
    parser.add_argument("--peer", action="append", default=[], help=own)
    parser.add_argument("--runs", type=int, default=5, help="of each program, counted")
    parser.add_argument("--jobs", type=int, default=2, help="of pgkeep and its peers")
    parser.add_argument("--only", default=",".join(USUAL), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--save", action="store_true", help="write RESULTS.md, and with growth its plot")
    given = parser.parse_args()
    given.parts = given.only.split(",")
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    partial = set(given.parts) & set(USUAL) and not set(USUAL) <= set(given.parts)
    if given.save and partial:
        parser.error("--save goes with all the usual parts, with growth alone, or with all parts")
    return given


def main():
    given = arguments()
    try:
        bench = Workbench(given)
    except Failed as failure:
        sys.exit(str(failure))
    try:
        setting = report.setting(bench)
        print("\n".join(setting))
        for part in given.parts:
            run, heading = PARTS[part]
            print(f"\n== {heading}", flush=True)
            try:
                run(bench)
            except Exception as failure:  # whatever it is, the other parts can still be measured
                bench.failures.append(f"{part}: {type(failure).__name__}: {failure}")
                print(f"  {bench.failures[-1]}", flush=True)
                bench.discard_kept()
    finally:
        bench.close()

    of_growth = {label for label in bench.series if label.endswith((" job", " jobs"))}
    measured = report.measurements(bench, [label for label in bench.series if label not in of_growth])
    verdicts = report.verdicts(bench, targets.TARGETS)
    growth_verdicts = report.verdicts(bench, targets.GROWTH_TARGETS)
    if bench.series.keys() - of_growth:
        print("\n" + "\n".join(measured))
    if bench.points:
        print("\n" + "\n".join(growth.table(bench.points)))
    print("\n" + "\n".join(verdicts) + "\n\n" + "\n".join(growth_verdicts))

    if bench.failures:
        sys.exit("\n".join(["", *bench.failures]))
    if given.save:
        main_half = report.main_half(setting, verdicts, measured) if set(USUAL) <= set(given.parts) else ""
        growth_half = ""
        if bench.points:
            growth.save(bench.points)
            growth_half = report.growth_half(setting, growth_verdicts, bench.points)
        report.save(main_half, growth_half)


main()
