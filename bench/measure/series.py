"""The counted runs of one program, and numbers as people read them."""

import statistics

MB = 1_000_000


class Series:
    def __init__(self):
        self.runs = []

    def median(self, quantity):
        return statistics.median(getattr(run, quantity) for run in self.runs)

    @property
    def seconds(self):
        return self.median("seconds")

    @property
    def client_cpu(self):
        return self.median("client_cpu")

    @property
    def server_cpu(self):
        return self.median("server_cpu")

    @property
    def peak_bytes(self):
        return max(run.peak_bytes for run in self.runs)

    @property
    def size(self):
        return self.runs[-1].size

    @property
    def rows_written(self):
        return sum(run.rows_written for run in self.runs)

    @property
    def spread(self):
        times = [run.seconds for run in self.runs]
        return f"{clock(min(times))} – {clock(max(times))}" if len(times) > 1 else ""


def clock(seconds):
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"


def megabytes(count):
    return f"{count / MB:,.0f} MB" if count >= 10 * MB else f"{count / MB:.2f} MB"


def markdown(head, rows):
    """A table whose source is as easy to read as what becomes of it."""
    rows = [head, *rows]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return lines
