"""What is freed goes back to the system, where glibc allocates."""

import platform
import subprocess
import sys

import pytest

HELD = """
import sys, psutil
from mirage.serve.allocation import give_back_what_is_freed

assert "given" not in sys.argv or give_back_what_is_freed()
large, small, resident = 1 << 20, 1 << 12, psutil.Process().memory_info
bytes([1]) * large  # from now on glibc takes blocks of this size from its heap, by itself
before = resident().rss
blocks = [[bytes([1]) * large, bytes([2]) * small] for _ in range(200)]
for block in blocks:
    block[0] = None  # the small ones stay between them
print((resident().rss - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left as they are")
def test_holes_between_what_is_kept_are_given_back():
    def held(*words: str) -> int:
        command = [sys.executable, "-c", HELD, *words]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert held("given") < 10
    assert held() > 100  # of 200, by itself
