"""Runs a program and writes down what it took: `launch.py REPORT PROGRAM [ARGUMENT…]`.

A process of its own that imports next to nothing, because a child's peak memory is never less than what the process
held that started it. What is left of that is 9 MB.
"""

import os
import sys
import time

report, *command = sys.argv[1:]
started = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
# wait4 gives this child's own peak and CPU, with those of its children that it has waited for.
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - started
code = os.waitstatus_to_exitcode(status)
with open(report, "w") as file:
    file.write(f"{code} {seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * 1024}")
