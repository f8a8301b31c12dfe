"""python -m dtorch.as_torch SCRIPT ARGS..., or -m MODULE ARGS..."""

from __future__ import annotations

import os
import runpy
import sys

from . import install

_USAGE = "usage: python -m dtorch.as_torch SCRIPT ARGS... | -m MODULE ARGS..."


def main(args: list[str]) -> None:
    """Run a script or a module as `python` would, with torch's names led to dtorch."""
    if args[:1] in (["-h"], ["--help"]):
        print(f"{_USAGE}\n\nRun a program that was written for PyTorch on dtorch.")
        return
    module = args[:1] == ["-m"]
    target = args[1:] if module else args
    if not target or target[0].startswith("-"):
        sys.exit(_USAGE)
    install()
    sys.argv[:] = target
    if module:
        runpy.run_module(target[0], run_name="__main__", alter_sys=True)
        return
    if not os.path.exists(target[0]):
        sys.exit(f"python -m dtorch.as_torch: can't open {target[0]!r}: no such file")
    sys.path[0] = os.path.dirname(os.path.abspath(target[0]))  # `python -m` had put "." there
    runpy.run_path(target[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
