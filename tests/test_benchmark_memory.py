"""Memory that benchmarks print is that of the process they speak of."""

import subprocess
import sys

import numpy as np
from pyrogrn.experiments.benchmarks.memory import PEAK, ended, peak_memory


def test_a_child_does_not_have_the_memory_of_its_parent():
    held = np.ones(50_000_000)  # 400 MB
    assert peak_memory() > held.nbytes
    _, memory = ended(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"]))
    assert 0 < memory < held.nbytes / 4


def test_a_program_tells_its_own_peak():
    program = f"held = bytearray(100_000_000); del held; print({PEAK})"
    told = float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert 1e8 < told < 2e8


def test_the_peak_holds_what_was_given_back():
    program = "import time; held = bytearray(150_000_000); del held; time.sleep(0.5)"
    process = subprocess.Popen([sys.executable, "-c", program])
    _, memory = ended(process)
    assert process.returncode == 0
    assert memory > 1.5e8
