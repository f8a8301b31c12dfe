"""Kill and stop ranks at random: `python -m tests.integration.elastic [--runs N]`.

Each run trains examples/elastic.py on four ranks under `dtorch-run --elastic`, and meets one to three
faults: kill -9 or SIGSTOP of a random rank at a random moment, or a burst of kills within 60 ms.  All
must end with exactly the weights of a run that nobody has disturbed.  Prints for each fault how long it
took until the rest went on, by when this process read so, and their medians.  Exit code 1 where a run
went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(REPO / "examples" / "elastic.py")
RANKS = 4
DEADLINE = 90.0  # seconds of a run
FAULTS = ("kill", "kill twice", "kill thrice", "burst", "stop", "stop and kill")


class Line(NamedTuple):
    when: float
    text: str


class Result(NamedTuple):
    """code: of the launcher; weights: as it printed them; took: seconds from each fault to going on."""

    code: int | None
    weights: str
    took: list[float]
    refilled: list[float]
    lines: list[str]


class Job:
    """A training job, and what it prints, by when it came."""

    def __init__(self, *options: str, steps: int, folder: str) -> None:
        """Without options one process alone, which must come to the same weights."""
        # So that no other settings matter, and two cores do for four ranks.
        env = {**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'launcher'}", "OMP_NUM_THREADS": "1",
               "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}  # fmt: skip
        launcher = ["-m", "dtorch_run", "--nproc-per-node", str(RANKS), *options]
        command = [sys.executable, *(launcher if options else []), SCRIPT, "--steps", str(steps)]
        self.process = subprocess.Popen(
            command, env=env, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: list[Line] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for text in stream:
                self.lines.append(Line(time.monotonic(), text.rstrip()))

    def ranks(self) -> list[int]:
        """The processes of the ranks that are running, not stopped."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [int(child) for child in children if _is_rank(child)]
        return []

    def is_at_its_end(self, steps: int) -> bool:
        told = [re.search(r"step (\d+):", line.text) for line in list(self.lines)]
        return any(match and int(match[1]) > steps - 20 for match in told)

    def wait_for(self, pattern: str, seconds: float, since: float = 0.0) -> float | None:
        """When a line like this came; None if none has come in time, or the job has ended."""
        end = time.monotonic() + seconds
        while True:
            over = self.process.poll() is not None or time.monotonic() > end
            for line in list(self.lines):
                if line.when > since and re.search(pattern, line.text):
                    return line.when
            if over:
                return None
            time.sleep(0.001)

    def end(self) -> int | None:
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            return None
        self._reader.join()
        return self.process.returncode


def _is_rank(pid: str) -> bool:
    with contextlib.suppress(OSError):
        env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return any(entry.startswith(b"RANK=") for entry in env) and state not in "TtZ"
    return False


def undisturbed(steps: int) -> str:
    """The weights after so many steps, as the script prints them."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(steps=steps, folder=folder)
        job.end()
        return _weights(job)


def _weights(job: Job) -> str:
    found = re.findall(r"weights (\w+)", "\n".join(line.text for line in job.lines))
    return found[-1] if found else "none"


def run(mode: str, fault: str, steps: int, seed: int) -> Result:
    """One job, with its faults drawn from the seed."""
    draw = random.Random(seed)
    took: list[float] = []
    refilled: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job("--elastic", mode, steps=steps, folder=folder)
        job.wait_for(r"step 20:", DEADLINE)
        for act in _acts(fault):
            time.sleep(draw.random() * 0.3)
            if job.is_at_its_end(steps):
                break  # what comes after elastic.run is not what is tested
            since = _strike(job, act, draw)
            gone_on = since and job.wait_for(r"go on from step \d+, ", 20.0, since)
            if since and gone_on:
                took.append(gone_on - since)
            if mode == "refill" and gone_on:
                pattern = rf"ranks 0-{RANKS - 1} go on from step \d+"
                whole = job.wait_for(pattern, 20.0, since or 0.0)
                refilled += [whole - since] if since and whole else []
        code = job.end()
        return Result(code, _weights(job), took, refilled, [line.text for line in job.lines])


def _acts(fault: str) -> list[str]:
    return {
        "kill": ["kill"], "kill twice": ["kill"] * 2, "kill thrice": ["kill"] * 3,
        "burst": ["burst"], "stop": ["stop"], "stop and kill": ["stop", "kill"],
    }[fault]  # fmt: skip


def _strike(job: Job, act: str, draw: random.Random) -> float | None:
    """Hit one rank, or in a burst two or three; when the last one was.  One is always left."""
    alive = job.ranks()
    count = min({"burst": draw.choice((2, 3))}.get(act, 1), len(alive) - 1)
    when = None
    for pid in draw.sample(alive, max(count, 0)):
        if act == "burst":
            time.sleep(draw.random() * 0.06 / count)
        with contextlib.suppress(ProcessLookupError):
            when = time.monotonic()
            os.kill(pid, signal.SIGSTOP if act == "stop" else signal.SIGKILL)
    return when


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--mode", choices=("shrink", "refill"), help="both in turn if not given")
    parser.add_argument("--fault", choices=FAULTS, help="all in turn if not given")
    args = parser.parse_args()
    want = undisturbed(args.steps)
    print(f"undisturbed: weights {want}; load {os.getloadavg()[0]:.1f}", flush=True)
    took: dict[str, list[float]] = {}
    failed = 0
    for i in range(args.runs):
        mode = args.mode or ("shrink", "refill")[i % 2]
        fault = args.fault or FAULTS[i // 2 % len(FAULTS)]
        result = run(mode, fault, args.steps, args.seed + i)
        good = result.code == 0 and result.weights == want
        failed += not good
        kind = "stopped" if fault == "stop" else "mixed" if "stop" in fault else "killed"
        took.setdefault(f"{mode}, {kind}: went on", []).extend(result.took)
        took.setdefault(f"{mode}, {kind}: whole again", []).extend(result.refilled)
        times = ", ".join(f"{t * 1000:.0f}" for t in result.took)
        again = ", ".join(f"{t:.2f}" for t in result.refilled)
        print(f"{i:3} seed {args.seed + i:3} {mode:6} {fault:13} weights {result.weights} "
              f"{'same' if good else 'WRONG'}; went on after {times or '-'} ms"
              f"{f'; whole again after {again} s' if again else ''}", flush=True)  # fmt: skip
        if not good:
            print(f"exit code {result.code}", *result.lines, sep="\n    ", flush=True)
    print(f"{args.runs - failed} of {args.runs} ended with the undisturbed run's exact weights; "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for what, times in sorted(took.items()):
        if times:
            print(f"{what} after {statistics.median(times) * 1000:.0f} ms (median of {len(times)}; "
                  f"{min(times) * 1000:.0f} to {max(times) * 1000:.0f})")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
