"""What a process frees is there again without the system."""

import platform
import subprocess
import sys

import pytest

from experiments.running import allocating

_PROGRAM = """
import resource, sys
import numpy as np
from experiments.running import allocating

if sys.argv[1] == "kept":
    assert allocating.keep_freed_memory()
for _ in range(5):
    np.ones(1 << 25)  # 256 MB, freed at once
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
print(faults)
"""


def _page_faults(how):
    command = [sys.executable, "-c", _PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it")
def test_a_block_that_was_freed_is_taken_again_without_page_faults():
    given_back = _page_faults("given back")
    if not given_back:
        pytest.skip("this system counts no page faults")
    assert _page_faults("kept") < 10 <= given_back


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocating.keep_freed_memory()
