"""The short version of `python -m validation.crash`; a process of its own, because that one forks."""

import re
import subprocess
import sys


def test_runs_that_are_killed_and_cut_off():
    words = [sys.executable, "-m", "validation.crash", "--runs", "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = re.findall(
        r"^(.*): (\d+) of (\d+) runs end with the same bits", done.stdout, re.MULTILINE
    )
    assert len(kinds) >= 2
    assert all(right == runs != "0" for _, right, runs in kinds)
