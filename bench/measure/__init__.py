"""What bench/run runs: pgkeep and its peers on the same data, taking turns.

Nothing here fails because something is slow: `targets.py` lists what the project wants to reach, and the report says
met or MISSED. What is wrong (rows written that were equal, copies that differ, programs that fail) ends the run with
an exit code other than 0.
"""
