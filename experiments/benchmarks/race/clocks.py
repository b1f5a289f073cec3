"""Processor time of a program and of those that it started to load its data."""

import multiprocessing
import os
import pathlib
import resource
import time


def processor_seconds() -> float:
    """Seconds that all threads of this process and of its children have worked.

    Returns:
      seconds, of which those of a child that runs come in ticks of the system's clock.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(_seconds_of(each.pid) for each in multiprocessing.active_children())
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def _seconds_of(process: int | None) -> float:
    """Those of a process that runs; 0 where unknown."""
    try:
        stat = pathlib.Path(f"/proc/{process}/stat").read_text("ascii", "replace")
    except OSError:
        return 0.0
    # Behind the name, which may hold spaces.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
