"""What this machine offers a job: cores, GPUs, the MPI library that mpi4py will load."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from dtorch_run import cgroup, cores
from dtorch_run.borrowed import visible
from dtorch_run.options import UsageError
from dtorch_run.plan import Machine

# The vendor is known before MPI_Init, which would cost up to a second; in a process of its own,
# because a launcher that has loaded an MPI library could not start another's ranks.
_ASK_VENDOR = (
    "import mpi4py; mpi4py.rc.initialize = False\n"
    "from mpi4py import MPI; print(MPI.get_vendor()[0])"
)


def look(port: int, ask_mpi: bool, ask_gpus: bool = True, hostfile: str | None = None) -> Machine:
    """The facts a plan is made from.

    ask_mpi False leaves the MPI library (0.1 s) out, ask_gpus False the NVIDIA driver.  Raises
    UsageError for a hostfile that can't be read.
    """
    return Machine(
        python=sys.executable,
        host=socket.gethostname(),
        cores=tuple(sorted(os.sched_getaffinity(0))),
        quota=cgroup.cpu_quota(),
        nodes=_numa_nodes(),
        gpus=tuple(visible.nvml_uuids()) if ask_gpus else (),
        mpi=_mpi_vendor() if ask_mpi else None,
        mpirun=_mpirun(),
        root=os.geteuid() == 0,
        port=port,
        job=f"dtorch-{os.getpid()}-{secrets.token_hex(4)}",
        folder=os.getcwd(),
        listed=_hosts_in(hostfile) if hostfile else (),
        nodefile=_hosts_in(os.environ["PBS_NODEFILE"]) if "PBS_NODEFILE" in os.environ else (),
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


def check_free(port: int) -> None:
    """UsageError, naming the process that has it, for a port that rank 0 can't listen on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError as error:
            raise UsageError(
                f"--master-port {port}: {error.strerror} ({_holder(port)}); leave --master-port "
                "out, and a free one is taken"
            ) from None


def _holder(port: int) -> str:
    """Who listens at a port: from the kernel's table of sockets and the processes' descriptors."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            for line in Path(table).read_text().splitlines()[1:]:  # proc_net_tcp(5)
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                pid = link.parts[2]
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                return f"process {pid} listens there: {line.strip()}"
        except OSError:  # it has ended, or is another user's
            continue
    return "by a process of another user"


def _hosts_in(file: str) -> tuple[str, ...]:
    """The names in a host file, each once: the first word of a line (what follows is for MPI)."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the host file {file}: {error.strerror}") from None
    words = [line.partition("#")[0].split()[:1] for line in lines]
    return tuple(dict.fromkeys(word[0].partition(":")[0] for word in words if word))


def _numa_nodes() -> tuple[tuple[int, ...], ...]:
    files = sorted(Path("/sys/devices/system/node").glob("node[0-9]*/cpulist"))
    return tuple(cores.read(file.read_text()) for file in files)


@functools.cache
def _mpi_vendor() -> str | None:
    # Without `site` Python starts in a third of the time.  It is handed our own path for that, which
    # is not all where packages are found by import hooks (editable installs): so then again with it.
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for flags, env in ((["-S"], known), ([], None)):
        command = [sys.executable, *flags, "-c", _ASK_VENDOR]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if answer.returncode == 0:
            return answer.stdout.strip()
    return None


def _mpirun() -> str | None:
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else shutil.which("mpirun")
