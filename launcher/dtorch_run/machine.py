"""What this machine offers a job: cores, GPUs, the MPI library that mpi4py will load."""

from __future__ import annotations

import functools
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from dtorch_run.plan import Machine

# The vendor is known before MPI_Init, which would cost up to a second; in a process of its own,
# because a launcher that has loaded an MPI library could not start another's ranks.
_ASK_VENDOR = (
    "import mpi4py; mpi4py.rc.initialize = False\n"
    "from mpi4py import MPI; print(MPI.get_vendor()[0])"
)


def look(port: int, ask_mpi: bool) -> Machine:
    """The facts a plan is made from; `ask_mpi` False leaves the MPI library (0.1 s) out."""
    return Machine(
        python=sys.executable,
        cores=len(os.sched_getaffinity(0)),
        gpus=_gpus(),
        mpi=_mpi_vendor() if ask_mpi else None,
        mpirun=_mpirun(),
        root=os.geteuid() == 0,
        port=port,
        job=f"dtorch-{os.getpid()}-{secrets.token_hex(4)}",
    )


def reserve_port() -> socket.socket:
    """A loopback port that stays ours while the socket is open, and that rank 0 can listen on.

    It is bound but does not listen, so Linux gives it to nobody else, yet lets a second socket
    with SO_REUSEADDR (torch's store sets it) listen there.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def _gpus() -> int:
    """CUDA devices that CUDA_VISIBLE_DEVICES leaves visible."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = sum(bool(re.fullmatch(r"nvidia\d+", name)) for name in os.listdir("/dev"))
    if visible is None:
        return present
    count = 0
    for device in visible.split(","):
        if device.strip() in ("", "-1"):  # CUDA itself stops reading at the first bad one
            break
        count += 1
    return min(count, present)


@functools.cache
def _mpi_vendor() -> str | None:
    answer = subprocess.run(
        [sys.executable, "-c", _ASK_VENDOR], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


def _mpirun() -> str | None:
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else shutil.which("mpirun")
