"""The plot of growth: time above, peak memory below, one column for each number of jobs.

Its own light card, so that it can be read on any page; a dark one where the reader's system is dark.
"""

import math

from . import targets

LINES = {targets.GZIP: "gzip", targets.ZSTD: "zstd", targets.RESTORE: "restore", targets.PG_DUMP: "peer"}
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .card { fill: #ffffff; stroke: #d0d7de }
  .grid { stroke: #e4e8ec }
  .limit { stroke: #cf222e; stroke-dasharray: 2 3 }
  .small { font-size: 11px; fill: #57606a }
  path.line { fill: none; stroke-width: 2 }
  path.gzip { stroke: #0969da } path.zstd { stroke: #1a7f37 } path.restore { stroke: #bc4c00 } path.peer { stroke: #6e7781; stroke-dasharray: 5 4 }
  circle.gzip { fill: #0969da } circle.zstd { fill: #1a7f37 } circle.restore { fill: #bc4c00 } circle.peer { fill: #6e7781 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .card { fill: #0d1117; stroke: #30363d }
    .grid { stroke: #262c34 }
    .small { fill: #9198a1 }
    .limit { stroke: #ff7b72 }
    path.gzip { stroke: #58a6ff } path.zstd { stroke: #3fb950 } path.restore { stroke: #f0883e } path.peer { stroke: #9198a1 }
    circle.gzip { fill: #58a6ff } circle.zstd { fill: #3fb950 } circle.restore { fill: #f0883e } circle.peer { fill: #9198a1 }
  }
"""
WIDTH, HEIGHT = 230, 190
LEFT, TOP, ACROSS, DOWN = 64, 88, 24, 40
WORDS = "Across: GB of rows in the server. Dotted: what memory is to stay under at 2 jobs. Memory of pg_dump: its largest process."


class Axis:
    """From values to pixels, by logarithm or evenly."""

    def __init__(self, ticks, start, end, even=False):
        self.ticks = ticks
        self.place = (lambda value: value) if even else math.log10
        self.low, self.high = self.place(ticks[0]), self.place(ticks[-1])
        self.start, self.end = start, end

    def at(self, value):
        return self.start + (self.place(value) - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks_around(values):
    """The steps 1, 2, 5, 10, 20 and so on that enclose these values."""
    steps = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5)]
    low = max(step for step in steps if step <= min(values))
    high = min(step for step in steps if step >= max(values) and step > low)
    return [step for step in steps if low <= step <= high]


def svg(points):
    columns = sorted({point["jobs"] for point in points})
    width = LEFT + len(columns) * (WIDTH + ACROSS) + 8
    height = TOP + 2 * (HEIGHT + DOWN)
    gigabytes = ticks_around([point["table_bytes"] / 1e9 for point in points])
    seconds = ticks_around([point["seconds"] for point in points])
    top_memory = max(120, *(point["peak_bytes"] / 1e6 for point in points))
    memory = [20.0 * step for step in range(math.ceil(top_memory / 20) + 1)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        'aria-label="Time and peak memory of pgkeep and pg_dump as the data grows">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        *legend(),
    ]
    for column, jobs in enumerate(columns):
        left = LEFT + column * (WIDTH + ACROSS)
        across = Axis(gigabytes, left, left + WIDTH)
        chosen = [point for point in points if point["jobs"] == jobs]
        rows = (
            ("seconds", Axis(seconds, TOP + HEIGHT, TOP), lambda point: point["seconds"], None),
            (
                "MB of memory",
                Axis(memory, TOP + 2 * HEIGHT + DOWN, TOP + HEIGHT + DOWN, even=True),
                lambda point: point["peak_bytes"] / 1e6,
                100,
            ),
        )
        parts.append(text(left + WIDTH / 2, TOP - 12, f"{jobs} job{'s' if jobs > 1 else ''}", "middle"))
        for name, up, value, limit in rows:
            parts += panel(chosen, across, up, value, limit, name if column == 0 else None)
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend():
    parts, left = [], 24
    for program, kind in LINES.items():
        words = f"pgkeep {program}" if kind != "peer" else program
        parts.append(f'<path class="line {kind}" d="M{left} 28h28"/><circle class="{kind}" cx="{left + 14}" cy="28" r="3.5"/>')
        parts.append(text(left + 36, 32, words))
        left += 64 + 7 * len(words)
    parts.append(text(24, 52, WORDS, kind="small"))
    return parts


def panel(points, across, up, value, limit, name):
    parts = []
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<path class="grid" d="M{across.start:.1f} {y:.1f}H{across.end:.1f}"/>')
        if name:
            parts.append(text(across.start - 8, y + 4, f"{tick:g}", "end", "small"))
    for tick in across.ticks:
        x = across.at(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {up.start:.1f}V{up.end:.1f}"/>')
        parts.append(text(x, up.start + 18, f"{tick:g}", "middle", "small"))
    if name:
        middle = (up.start + up.end) / 2
        parts.append(f'<text x="20" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 20 {middle:.1f})">{name}</text>')
    if limit:
        parts.append(f'<path class="limit" d="M{across.start:.1f} {up.at(limit):.1f}H{across.end:.1f}"/>')
    for program, kind in LINES.items():
        mine = sorted((point for point in points if point["program"] == program), key=lambda point: point["table_bytes"])
        places = [(across.at(point["table_bytes"] / 1e9), up.at(value(point))) for point in mine]
        if places:
            parts.append(f'<path class="line {kind}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>')
            parts += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places]
    return parts


def text(x, y, words, anchor="start", kind=""):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
