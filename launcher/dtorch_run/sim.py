"""``dtorch-run --sim N``: the command that rehearses a script in one process."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from dtorch_run import cores
from dtorch_run.options import Options, UsageError
from dtorch_run.plan import Command, given_variables

_TAKEN = ("sim", "seed", "fault", "timeout", "threads", "env")


def command(options: Options, env: Mapping[str, str]) -> Command:
    """What to run.  UsageError for options that say nothing where all ranks are one process."""
    if options.sim is None or options.sim < 1:
        raise UsageError(f"--sim must be at least 1, got {options.sim}")
    if options.no_python or options.as_torch:
        raise UsageError("--sim runs Python scripts: it excludes --no-python and --as-torch")
    for key in options.origin:
        if key not in _TAKEN:
            raise UsageError(
                f"--sim is one process on this machine: {options.source(key)} has no meaning there"
            )
    if options.timeout is not None and options.timeout <= 0:
        raise UsageError(f"--timeout must be more than 0 seconds, got {options.timeout}")
    argv = [sys.executable, "-m", "dtorch.parallel.rehearse", "--sim", str(options.sim)]
    for key in ("seed", "fault", "timeout"):
        value = getattr(options, key)
        if value is not None:
            argv += [f"--{key}={value}"]
    if options.module:
        argv.append("-m")
    told = {**env, **given_variables(options.env)}
    if options.threads is not None:
        told |= dict.fromkeys(cores.THREADS, str(options.threads))
    return Command(None, (*argv, options.script, *options.args), told)
