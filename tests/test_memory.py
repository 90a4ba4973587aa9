import subprocess
import sys

import pytest

PROGRAM = """
import resource
from bertsmith.memory import keep_freed_memory
if {keeps}:
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(b"x") * (8 << 20)
before = faults()
for _ in range(10):
    bytearray(b"x") * (8 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_the_system_hands_out_pages_once():
    faults = {}
    for keeps in (False, True):
        command = [sys.executable, "-c", PROGRAM.format(keeps=keeps)]
        faults[keeps] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults[True] * 10 < faults[False]
