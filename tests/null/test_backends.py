"""The CUDA backend offers what the CPU backend offers: read from the source, with no GPU needed."""

import ast
import subprocess
import sys
from pathlib import Path

import dtorch.core.backend


def _functions(name: str) -> dict[str, list[str]]:
    """The public functions of a backend, each with the names of its arguments."""
    source = Path(dtorch.core.backend.__file__).with_name(f"{name}.py").read_text()
    return {
        node.name: [a.arg for a in node.args.args]
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def test_both_backends_have_the_same_functions():
    cpu, cuda = _functions("cpu"), _functions("cuda")
    # Only CUDA can be missing, and has graphs; what its libraries do is asked for by its own ops.
    for name in ("why_not", "capturing", "convolutions", "linear", "product"):
        del cuda[name]
    del cpu["finfo_of"]  # of dtypes, not of arrays
    assert cuda == cpu


def test_a_thread_of_the_users_gets_ieee_results_without_warnings():
    code = (
        "import threading, dtorch\n"
        "def run():\n    x = dtorch.zeros(2)\n    print((x / x).tolist(), x.log().tolist())\n"
        "thread = threading.Thread(target=run)\nthread.start()\nthread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[nan, nan] [-inf, -inf]\n", "")
