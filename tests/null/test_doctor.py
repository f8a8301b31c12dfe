"""python -m dtorch.doctor says what there is."""

import subprocess
import sys
from importlib.metadata import version


def test_the_doctor_names_versions_devices_threads_and_variables():
    done = subprocess.run(
        [sys.executable, "-m", "dtorch.doctor"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    for expected in (f"numpy {version('numpy')}", "MPI:", "CUDA:", "threads:", "DTORCH_MALLOC="):
        assert expected in done.stdout
