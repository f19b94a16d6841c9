import subprocess
import sys

import pytest


@pytest.mark.parametrize("target", ["monai.losses.TverskyLoss", "octopi.nets.SizedUNet"])
def test_monai_comes_without_packages_that_no_section_needs(target):
    program = (
        "import sys; from octopi.config import locate\n"
        f"made = locate({target!r}, 'model')\n"
        "assert made is not None and 'monai' in sys.modules\n"
        "assert not {'mlflow', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "import mlflow, pandas  # both can still be had\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
