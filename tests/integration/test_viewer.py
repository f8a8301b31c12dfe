"""dtorch-run status, top, logs and diff, on a real job: while it runs, and when it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("zmq")

from dtorch_run import viewer  # noqa: E402
from dtorch_run.options import UsageError  # noqa: E402

DEADLINE = 60.0
REPO = Path(__file__).resolve().parents[2]
# Trains until there is a file "go"; then rank 1's copy of the model changes.
SCRIPT = """
import os
import dtorch
import dtorch.distributed as dist
from dtorch import nn

dist.init_process_group()
print("hello of", dist.get_rank())
ddp = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
optimizer = dtorch.optim.SGD(ddp.parameters(), lr=0.0)
ledger = dist.ReplicaLedger(ddp, optimizer, every=10_000_000)
go = dtorch.zeros(1)
while not go:
    loss = ddp(dtorch.zeros(3, 4)).sum() * 0 + 2.5
    loss.backward()
    optimizer.step()
    dist.report(loss=loss, samples=3)
    go = dtorch.tensor([float(os.path.exists("go"))])
    dist.all_reduce(go)
if dist.get_rank() == 1:
    with dtorch.no_grad():
        ddp.module.bias[1] += 1
ledger.compare()
"""


def dtorch_run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dtorch_run", *args],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.fixture(scope="module")
def seen() -> Iterator[dict]:
    """What was seen of one job of two ranks, while it ran and when it had ended."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        patch.setenv("TMPDIR", folder)  # short, as a socket's path has to be
        patch.setattr(tempfile, "tempdir", folder)  # the same here, where it is known already
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(REPO / "launcher")]))
        patch.chdir(folder)
        Path("script.py").write_text(SCRIPT)
        options = ("--device=cpu", "--backend=local", "--nproc-per-node=2", "--dashboard")
        command = (sys.executable, "-m", "dtorch_run")
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*command, *options, "script.py"], stderr=pipe, text=True
        ) as launcher:
            try:
                assert launcher.stderr is not None
                page = launcher.stderr.readline()
                told = _when_it_trains(launcher)
                seen = {"pid": launcher.pid, "told": told, **_while_it_runs(told["job"], page)}
                with subprocess.Popen([*command, "top"], stdout=pipe, text=True) as top:
                    assert top.stdout is not None
                    seen["top"] = top.stdout.readline()
                    Path("go").touch()
                    seen["error"] = launcher.communicate(timeout=DEADLINE)[1]
                    seen["top"] += top.communicate(timeout=DEADLINE)[0]
                    seen["top's code"] = top.returncode
            finally:
                launcher.kill()
        seen["left"] = list(Path(folder).glob("dtorch-*"))
        yield seen


def _when_it_trains(launcher: subprocess.Popen[str]) -> dict:
    """What the job says when both ranks have done steps for a while."""
    end = time.monotonic() + DEADLINE
    while True:
        assert time.monotonic() < end, "deadline"
        assert launcher.poll() is None
        for job in viewer.running():
            told = job.ask()
            if told and [row["steps_per_s"] > 0 for row in told["ranks"]] == [True, True]:
                return told
        time.sleep(0.01)


def _while_it_runs(job: str, page: str) -> dict:
    (contact,) = Path(os.environ["TMPDIR"]).glob("dtorch-*/control.json")
    keys = json.loads(contact.read_text())
    data = page.split()[-1].replace("/?", "/status?")
    with urllib.request.urlopen(data, timeout=DEADLINE) as answer:
        shown = json.load(answer)
    return {
        "page": page,
        "data": data,
        "shown": shown,
        "table": dtorch_run("status").stdout,
        "log of rank 1": dtorch_run("logs", "--rank=1", job[:8]).stdout,
        "modes": [path.stat().st_mode & 0o777 for path in (contact, contact.parent)],
        "with keys": viewer.ask(keys, "status"),
    }


def test_a_running_job_tells_how_far_it_is(seen):
    told = seen["told"]
    assert (told["pid"], told["size"], told["silent"], told["dropped"]) == (seen["pid"], 2, [], {})
    for rank, row in enumerate(told["ranks"]):
        assert (row["rank"], row["loss"], row["device"]) == (rank, 2.5, "cpu")
        assert row["steps"] > 0
        assert 0 <= row["wait_share"] <= 1
        assert 1 << 20 < row["memory"] < 1 << 34
        assert row["samples_per_s"] == pytest.approx(3 * row["steps_per_s"], rel=0.5)
        assert "all_reduce" in row["last"]


def test_a_table_for_people_and_lines_of_ranks(seen):
    first, head, *rows = seen["table"].splitlines()
    assert first.startswith(seen["told"]["job"] + ": running, 2 ranks, 0:0")
    assert head.split()[:4] == ["rank", "host", "device", "step"]
    assert [row.split()[0] for row in rows[:2]] == ["0", "1"]
    assert seen["log of rank 1"] == "[1] hello of 1\n"


def test_a_job_is_its_users_own(seen):
    assert seen["modes"] == [0o600, 0o700]
    assert seen["with keys"]["job"] == seen["told"]["job"]
    assert seen["left"] == []  # no keys, no socket


def test_the_dashboard_of_a_job_ends_with_it(seen):
    job = seen["told"]["job"]
    assert seen["page"].startswith(f"dtorch-run: dashboard of {job}: http://127.0.0.1:")
    assert (seen["shown"]["name"], seen["shown"]["state"]) == (job, "running")
    assert [row["loss"] for row in seen["shown"]["status"]["ranks"]] == [2.5, 2.5]
    assert len(seen["shown"]["status"]["past"]) > 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(seen["data"], timeout=DEADLINE)


def test_a_job_that_is_not_there(seen):
    with pytest.raises(UsageError, match="no job 'other' of yours runs on this machine"):
        viewer.find("other")


def test_top_ends_with_the_job(seen):
    assert "running, 2 ranks" in seen["top"].splitlines()[0]
    assert "ended with exit code 1, 2 ranks" in seen["top"]
    assert seen["top's code"] == 0


def test_when_it_has_ended_its_folder_tells(seen):
    job = seen["told"]["job"]
    assert "the ranks' copies differ after step" in seen["error"]
    folder = os.path.join("run", job)
    assert dtorch_run("status", folder).stdout.startswith(f"{job}: ended with exit code 1")
    status = json.loads(Path(folder, "report.json").read_text())["status"]
    assert len(status["past"]) >= len(seen["shown"]["status"]["past"])  # a point a second
    assert all(loss == 2.5 and rate > 0 for _, _, loss, rate in status["past"])
    done = dtorch_run("diff", folder)
    assert done.returncode == 1
    head, line = done.stdout.splitlines()
    assert f"{job}: 1 of 2 tensors differ after step " in head
    assert head.split("step ")[1].partition(";")[0] in seen["error"]
    assert line.startswith("  parameter 'module.bias'  rank 0: ")
