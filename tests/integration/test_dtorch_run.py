"""dtorch-run as a user runs it: real processes, real signals, and nothing left afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 30.0
MPI_SUM = """
from mpi4py import MPI
import os
world = MPI.COMM_WORLD
assert world.size == int(os.environ["WORLD_SIZE"]) and world.rank == int(os.environ["RANK"])
print("sum", world.allreduce(world.rank + 1))
"""
# Rank 0 waits for ever, as in a collective; `{act}` is what rank 1 does.
ONE_ACTS = """
import os, signal, sys, time
if os.environ["RANK"] == "1":
    {act}
time.sleep(600)
"""
ONE_IN_MPI = """
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
world.barrier()
if world.rank == 1:
    {act}
world.barrier()
"""
# A rank with a child of its own, such as a data-loader worker; each writes its pid when ready.
FAMILY = """
import os, pathlib, sys, time
if os.fork() == 0:
    os.setpgid(0, 0) if "{group}" == "own" else None
(pathlib.Path(sys.argv[1]) / f"{{os.getpid()}}.pid").touch()
time.sleep(600)
"""


@pytest.fixture(autouse=True, scope="module")
def _signals_as_on_a_terminal() -> Iterator[None]:
    """A background job starts with Ctrl-C ignored, which its children inherit and dtorch-run keeps."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(text)
        return str(path)

    return write


def command(*args: str, ranks: int = 2) -> list[str]:
    return [sys.executable, "-m", "dtorch_run", f"--nproc-per-node={ranks}", *args]


def run(*args: str, ranks: int = 2, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args, ranks=ranks), capture_output=True, text=True, timeout=DEADLINE, **kwargs
    )


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "deadline"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet (a zombie) doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=["same", "own"])
def family(request, script, tmp_path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A running job of 2 ranks with a child each: (launcher, pids of ranks and children)."""
    path = script(FAMILY.format(group=request.param))
    launcher = subprocess.Popen(
        command("--backend=local", path, str(tmp_path)),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    pids: list[int] = []
    try:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 4)
        pids += [int(path.stem) for path in tmp_path.glob("*.pid")]
        yield launcher, pids
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        launcher.kill()
        launcher.communicate()


def test_ranks_share_an_mpi_world(script):
    done = run("--backend=mpi", script(MPI_SUM))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["[0] sum 3", "[1] sum 3"]
    assert done.stderr == ""


def test_a_job_of_one_rank(script):
    done = run("--backend=mpi", script(MPI_SUM), ranks=1)
    assert (done.returncode, done.stdout) == (0, "[0] sum 1\n")


def test_the_first_failing_ranks_traceback_comes_last(script):
    path = script(ONE_ACTS.format(act="raise ValueError('rank 1 is unhappy')"))
    done = run("--backend=local", path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "dtorch-run: rank 0 stopped because rank 1 failed"
    assert lines[1].startswith("dtorch-run: rank 1 of 2 failed first: ValueError")
    assert lines[2] == "Traceback (most recent call last):"
    assert path in lines[3]  # the first frame is the user's
    assert lines[-1] == "ValueError: rank 1 is unhappy"
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize(
    ("act", "code", "words"),
    [
        ("sys.exit(3)", 3, "SystemExit: 3"),
        ("os._exit(4)", 4, "exit code 4"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "killed by SIGSEGV"),
    ],
)
def test_how_a_rank_may_die(script, act, code, words):
    done = run("--backend=local", script(ONE_ACTS.format(act=act)))
    assert done.returncode == code
    assert "rank 0 stopped because rank 1 failed" in done.stderr
    assert f"rank 1 of 2 failed first: {words}" in done.stderr


def test_a_rank_killed_inside_mpi_ends_the_job_and_leaves_no_segment(script):
    before = set(Path("/dev/shm").glob("mpich_*"))
    done = run("--backend=mpi", script(ONE_IN_MPI.format(act="os.kill(os.getpid(), 9)")))
    assert done.returncode == 137, done.stderr
    # in our words, or in those of Open MPI's mpirun
    assert re.search(r"rank 1\b.*(killed by SIGKILL|signal 9)", done.stderr, re.DOTALL)
    assert set(Path("/dev/shm").glob("mpich_*")) <= before


def test_mpi_abort_ends_the_job_with_its_code(script):
    done = run("--backend=mpi", script(ONE_IN_MPI.format(act="world.Abort(7)")))
    assert done.returncode == 7, done.stderr
    assert "MPI_ABORT" in done.stderr.upper()


def test_an_exception_inside_mpi_does_not_wait_in_finalize(script):
    done = run("--backend=mpi", script(ONE_IN_MPI.format(act="raise ValueError('unhappy')")))
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == "ValueError: unhappy"


def test_a_rank_may_leave_early(script):
    path = script("import os\nif os.environ['RANK'] == '1': raise SystemExit\nprint('still here')")
    done = run("--backend=local", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0] still here\n", "")


def test_a_crash_shows_the_users_stack(script):
    path = script(ONE_ACTS.format(act="os.kill(os.getpid(), signal.SIGSEGV)"))
    stack = run("--backend=local", path).stderr
    assert f'File "{path}", line 4' in stack
    assert "worker.py" not in stack


@pytest.mark.parametrize("backend", ["local", "mpi"])
def test_the_timeout_shows_where_each_rank_stands(script, backend):
    path = script(ONE_ACTS.format(act="time.sleep(600)"))
    done = run(f"--backend={backend}", "--timeout=1", path)
    assert done.returncode == 124
    for rank, line in ((0, 5), (1, 4)):
        after = done.stderr.partition(f"rank {rank} was here:")[2]
        assert f'File "{path}", line {line}' in after
    assert done.stderr.endswith("dtorch-run: rank 0, rank 1 still running after 1 s: stopped\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_launcher_leaves_no_orphan(family, signum):
    launcher, pids = family
    launcher.send_signal(signum)
    _, errors = launcher.communicate(timeout=DEADLINE)
    assert launcher.returncode == 128 + signum
    assert errors.splitlines()[-1] == f"dtorch-run: stopped by {signal.Signals(signum).name}"
    assert not any(alive(pid) for pid in pids)


def test_a_stopped_rank_is_ended_too(family):
    launcher, pids = family
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    launcher.terminate()
    assert launcher.wait(DEADLINE) == 143
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("family", ["same"], indirect=True)
def test_killing_the_launcher_leaves_no_orphan(family):
    launcher, pids = family
    launcher.kill()
    launcher.wait(DEADLINE)
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_a_rank_may_use_the_grace_time(script, tmp_path):
    path = script(
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n    print('saved')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "(pathlib.Path(sys.argv[1]) / 'ready').touch()\n"
        "time.sleep(600)\n"
    )
    launcher = subprocess.Popen(
        command("--backend=local", path, str(tmp_path), ranks=1), stdout=subprocess.PIPE, text=True
    )
    wait_for((tmp_path / "ready").exists)
    launcher.terminate()
    output, _ = launcher.communicate(timeout=DEADLINE)
    assert (launcher.returncode, output) == (143, "[0] saved\n")


def test_a_second_ctrl_c_kills_at_once(script, tmp_path):
    path = script(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: print('no'))\n"
        "(pathlib.Path(sys.argv[1]) / 'ready').touch()\n"
        "while True: time.sleep(600)\n"
    )
    launcher = subprocess.Popen(
        command("--backend=local", path, str(tmp_path), ranks=1), stdout=subprocess.PIPE, text=True
    )
    wait_for((tmp_path / "ready").exists)
    launcher.send_signal(signal.SIGINT)
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "[0] no\n"
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=DEADLINE)
    assert launcher.returncode == 130


def test_a_module_with_arguments(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "train.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    done = run("--backend=local", "-m", "pkg.train", "--lr", "--", "1", ranks=1, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[0] __main__ ['--lr', '--', '1']\n")


def test_the_script_finds_its_neighbours_and_not_the_launchers_modules(script, tmp_path):
    (tmp_path / "config.py").write_text("name = 'mine'\n")
    done = run("--backend=local", script("import config\nprint(config.name)"), ranks=1)
    assert (done.returncode, done.stdout) == (0, "[0] mine\n")


def test_a_pipe_reaches_rank_0(script):
    path = script("import os, sys\nprint(repr(sys.stdin.read()))")
    done = run("--backend=local", path, input="text")
    assert sorted(done.stdout.splitlines()) == ["[0] 'text'", "[1] ''"]


def test_a_reader_that_leaves_ends_the_job(script, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = script("while True: print('x' * 100)")
    line = f"{subprocess.list2cmdline(command('--backend=local', path))} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 141
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_the_command_line_wins_over_the_preset(script, tmp_path):
    preset = tmp_path / "preset.toml"
    preset.write_text('nproc_per_node = 4\nbackend = "local"\nenv = ["A=1", "B=1"]\n')
    path = script("import os\nprint(os.environ['WORLD_SIZE'], os.environ['A'], os.environ['B'])")
    done = run("--config", str(preset), "--env", "B=2", path)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["[0] 2 1 2", "[1] 2 1 2"]


def test_torchruns_spelling(script):
    line = [sys.executable, "-m", "dtorch_run", "--nproc_per_node", "3", "--dry_run", "--backend"]
    done = subprocess.run(
        [*line, "local", script("")], capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0
    assert done.stdout.startswith("3 ranks, started by local")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.py"], "no such script: none.py (for a module: dtorch-run -m none.py)"),
        (["--config", "bad.toml", "-m", "x"], "bad.toml: unknown key 'thread' (did you mean"),
        (["--nproc-per-node", "0", "-m", "x"], "must be a number of at least 1"),
    ],
)
def test_usage_errors(tmp_path, args, words):
    (tmp_path / "bad.toml").write_text("thread = 1\n")
    done = run("--backend=local", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("dtorch-run: error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
