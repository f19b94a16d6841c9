"""Cases kept outside: with `CASES=FOLDER`, what a check says before each is what the work says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = os.environ.get("CASES")
CASES = sorted(Path(FOLDER).rglob("[0-9][0-9]_*.py")) if FOLDER else []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not CASES, reason="CASES names no folder of cases")
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_check_before_agrees_with_the_work_after(case):
    program = Path(__file__).with_name("both_ways.py")
    ended = subprocess.run(
        [sys.executable, str(program), str(case)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
