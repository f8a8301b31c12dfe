"""What `import dtorch` brings along."""

import subprocess
import sys


def test_import_is_light() -> None:
    code = (
        "import sys, dtorch\n"
        "heavy = {'cupy', 'mpi4py', 'zmq', 'scipy', 'torch', 'tqdm'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "[]"
