"""Four hosts on one machine: `python -m tests.integration.hosts [SCENARIO...]`, as root.

Each host is a set of namespaces: a network of its own with one cable to a common switch (veth, bridge),
its own name, processes and /dev/shm.  On each runs `dtorch-run --nnodes 4`, training
examples/elastic.py over MPI; then a cable is pulled.  For each scenario a line a host: the exit code,
after how many seconds its launcher had ended, how many of its processes ran on, and what it said of the
cause.  Exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(REPO / "examples" / "elastic.py")
HOSTS = 4
STEPS = 40
SILENCE = 2  # seconds after which a host that says nothing is gone
WITHIN = SILENCE + 4.0  # seconds from the cut until all launchers are to have ended
DEADLINE = 120.0  # of a scenario


class Scenario(NamedTuple):
    """cut: the host whose cable is pulled in the middle; back: whether it is plugged in again."""

    cut: int | None = None
    back: bool = False
    restarts: int = 0


SCENARIOS = {
    "undisturbed": Scenario(),
    "cut one off": Scenario(cut=2),
    "cut the first off": Scenario(cut=0),
    "cut one off, and back": Scenario(cut=2, back=True, restarts=1),
}


class Seen(NamedTuple):
    """Of one host."""

    code: int | None  # None: it had to be killed
    took: float  # seconds from the cut, or else the start
    orphans: int
    lines: list[str]

    @property
    def cause(self) -> str:
        return next((line for line in self.lines if re.search(r"failed first", line)), "")

    @property
    def weights(self) -> str:
        found = re.findall(r"weights (\w+)", "\n".join(self.lines))
        return found[0] if found else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenarios", nargs="*", help=f"of: {', '.join(SCENARIOS)}; default: all")
    names = parser.parse_args().scenarios or list(SCENARIOS)
    unknown = set(names) - SCENARIOS.keys()
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    reason = impossible()
    if reason:
        print(f"not possible here: {reason}", file=sys.stderr)
        return 2
    wanted = weights_of_one_process()
    broken = 0
    for name in names:
        seen = run(SCENARIOS[name])
        for node, host in enumerate(seen):
            print(
                f"{name:<22} host{node}  code {host.code!s:>4}  {host.took:6.2f} s  "
                f"{host.orphans} orphans  {host.cause or host.weights}",
                flush=True,
            )
        for promise in broken_promises(SCENARIOS[name], seen, wanted):
            print(f"    BROKEN: {promise}", flush=True)
            broken += 1
    return 1 if broken else 0


def impossible() -> str:
    """Why namespaces can't be made on this machine, empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "unshare", "mount") if not shutil.which(tool)]
    if missing:
        return f"no {', no '.join(missing)} (Debian's packages iproute2, util-linux and mount)"
    probe = f"dtorch-probe-{os.getpid()}"
    steps = (
        ("ip", "netns", "add", probe),
        ("ip", "-n", probe, "link", "add", "name", "switch", "type", "bridge"),
        ("ip", "-n", probe, "link", "add", "name", "end0", "type", "veth", "peer", "name", "end1"),
        ("unshare", *_OWN, "mount", "-t", "tmpfs", "none", "/dev/shm"),
    )
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"`{' '.join(step)}` says {done.stderr.strip()}"
    finally:
        subprocess.run(("ip", "netns", "del", probe), capture_output=True, check=False)
    return ""


def weights_of_one_process() -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--steps", str(STEPS)],
        env=_environment(), capture_output=True, text=True, check=True, timeout=DEADLINE,
    )  # fmt: skip
    return done.stdout.split()[-1]


def broken_promises(scenario: Scenario, seen: list[Seen], weights: str) -> list[str]:
    """What was promised of a scenario, and not kept."""
    ended_well = scenario.cut is None or scenario.back
    wrong = []
    for i, host in enumerate(seen):
        if host.orphans:
            wrong.append(f"host{i} left {host.orphans} processes")
        if host.code != (0 if ended_well else 1):
            wrong.append(f"host{i} ended with {host.code}")
        if not ended_well and host.took > WITHIN:
            wrong.append(f"host{i} took {host.took:.1f} s, not {WITHIN:g}")
        gone = str(scenario.cut)
        if i == scenario.cut:  # it can only tell that it hears of the first no more, or of any
            gone = "0" if i else f"[1-{HOSTS - 1}]"
        says = rf"its host, .* \(number {gone}\), can't be reached"
        if scenario.cut is not None and not re.search(says, host.cause):
            wrong.append(f"host{i} does not name host{gone}: {host.cause!r}")
    if ended_well and seen[0].weights != weights:
        wrong.append(f"the weights are {seen[0].weights}, not {weights}, one process's")
    return wrong


def run(scenario: Scenario) -> list[Seen]:
    """Start a launcher on each host, pull the cable, and see what comes of it."""
    with tempfile.TemporaryDirectory(prefix="hosts-") as folder, network() as switch:
        job = [
            "--device=cpu", f"--nnodes={HOSTS}", f"--master-addr={_address(0)}",
            f"--rdzv-conf=timeout=30,keep_alive_interval=1,keep_alive_max_attempt={SILENCE}",
            f"--max-restarts={scenario.restarts}",
        ]  # fmt: skip
        slowly = [] if scenario.cut is None else ["--slowly"]
        script = [SCRIPT, f"--steps={STEPS}", f"--checkpoints={folder}/checkpoints", *slowly]
        hosts = [
            _Host(switch, Path(folder), node, [*job, f"--node-rank={node}", *script])
            for node in range(HOSTS)
        ]
        try:
            began = time.monotonic()
            if scenario.cut is not None:
                hosts[0].wait_for(r"step 20:")
                began = time.monotonic()
                plug(switch, scenario.cut, "down")
            if scenario.back:
                for host in hosts:
                    host.wait_for(r"starting all ranks again")
                plug(switch, scenario.cut or 0, "up")
            return [host.end(began) for host in hosts]
        finally:
            for host in hosts:
                host.kill()


@contextlib.contextmanager
def network() -> Iterator[str]:
    """A switch and a cable to each host; nothing of it is in the machine's own network."""
    switch = f"dtorch-{os.getpid()}"
    names = [switch, *(f"{switch}-{node}" for node in range(HOSTS))]
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "name", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for node, name in enumerate(names[1:]):
            far = ("peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "add", "name", f"port{node}", "type", "veth", *far)
            _ip("-n", switch, "link", "set", f"port{node}", "master", "switch", "up")
            _ip("-n", name, "address", "add", f"{_address(node)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        yield switch
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)


def plug(switch: str, node: int, state: str) -> None:
    """Pull a host's cable ("down"), or plug it in ("up")."""
    _ip("-n", switch, "link", "set", f"port{node}", state)


# Besides the network: a name, processes, memory and mounts of its own.  All end with the first one.
_OWN = ("--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# Not `exec`: what has no other handler for a signal would ignore it as process 1.
_START = (
    'hostname host$0; mount -t tmpfs none /dev/shm; mount --bind "$1" /etc/hosts; shift; "$@"; '
)
_START += 'code=$?; sleep 1; echo "orphans $(cat /proc/[0-9]*/comm | grep -c python)"; exit $code'


class _Host:
    """A launcher on one host, and what it says."""

    def __init__(self, switch: str, folder: Path, node: int, arguments: list[str]) -> None:
        names = folder / "names"
        text = "".join(f"{_address(each)} host{each}\n" for each in range(HOSTS))
        names.write_text("127.0.0.1 localhost\n" + text)
        (folder / f"tmp{node}").mkdir()
        (folder / f"cwd{node}").mkdir()
        inside = ("sh", "-c", _START, str(node), str(names))
        command = (sys.executable, "-m", "dtorch_run", *arguments)
        self.lines: list[str] = []
        self._ended = 0.0
        self._process = subprocess.Popen(
            ("ip", "netns", "exec", f"{switch}-{node}", "unshare", *_OWN, *inside, *command),
            env={**_environment(), "TMPDIR": str(folder / f"tmp{node}")}, cwd=folder / f"cwd{node}",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip())

    def wait_for(self, pattern: str) -> None:
        end = time.monotonic() + DEADLINE
        while not any(re.search(pattern, line) for line in list(self.lines)):
            if time.monotonic() > end or self._process.poll() is not None:
                raise TimeoutError(f"no line like {pattern!r} in:\n" + "\n".join(self.lines))
            time.sleep(0.01)

    def end(self, began: float) -> Seen:
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(DEADLINE)
        took = time.monotonic() - began
        self.kill()
        found = re.findall(r"^orphans (\d+)$", "\n".join(self.lines), re.M)
        return Seen(code, took - 1.0, int(found[-1]) if found else 0, self.lines)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True, text=True)


def _address(node: int) -> str:
    return f"10.83.0.{node + 1}"


def _environment() -> dict[str, str]:
    """So that no other settings matter, and two cores do for four ranks."""
    return {**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'launcher'}", "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
