"""dtorch-run as a user runs it: real processes, real signals, and nothing left afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dtorch_run import machine

DEADLINE = 30.0
REPO = Path(__file__).resolve().parents[2]
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


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory, monkeypatch):
    """Jobs that fail leave a folder in ./run."""
    path = os.pathsep.join([str(REPO), str(REPO / "launcher")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


def command(*args: str, ranks: int = 2) -> list[str]:
    start = [sys.executable, "-m", "dtorch_run", "--device=cpu", f"--nproc-per-node={ranks}"]
    return [*start, *args]


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
    assert re.sub(r"^\[0-1 x2\] (.*)", r"[0] \1\n[1] \1", done.stdout).splitlines() == [
        "[0] sum 3",
        "[1] sum 3",
    ]  # folded, unless one was late
    assert done.stderr == ""


def test_a_job_of_one_rank(script):
    done = run("--backend=mpi", script(MPI_SUM), ranks=1)
    assert (done.returncode, done.stdout) == (0, "[0] sum 1\n")


def test_the_first_failing_ranks_traceback_comes_last(script):
    path = script(ONE_ACTS.format(act="raise ValueError('rank 1 is unhappy')"))
    done = run("--backend=local", path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("dtorch-run: logs and report of this job: run/dtorch-")
    assert lines[1] == "dtorch-run: rank 0 stopped because rank 1 failed"
    assert lines[2].startswith("dtorch-run: rank 1 of 2 failed first: ValueError")
    assert lines[3] == "Traceback (most recent call last):"
    assert path in lines[4]  # the first frame is the user's
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
    assert done.stderr.endswith("dtorch-run: ranks 0-1 still running after 1 s: stopped\n")


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


def test_killing_the_launcher_leaves_no_orphan(family, tmp_path):
    launcher, pids = family
    launcher.kill()
    launcher.wait(DEADLINE)
    wait_for(lambda: not any(alive(pid) for pid in pids))
    wait_for(lambda: not list(tmp_path.glob("dtorch-*")))  # nor a file of its own


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


@pytest.mark.parametrize(
    "what", ["doctor", "--backend=local --dry-run --nproc-per-node=64 --no-python env"]
)
def test_a_reader_that_leaves_gets_no_traceback(what):
    line = f"{sys.executable} -m dtorch_run {what} | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.returncode in (0, 141), done.stderr) == (True, "")


def test_the_command_line_wins_over_the_preset(script, tmp_path):
    preset = tmp_path / "preset.toml"
    preset.write_text('nproc_per_node = 4\nbackend = "local"\nenv = ["A=1", "B=1"]\n')
    path = script("import os\nprint(os.environ['WORLD_SIZE'], os.environ['A'], os.environ['B'])")
    done = run("--config", str(preset), "--env", "B=2", path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(\[0-1 x2\] 2 1 2\n)|((\[\d\] 2 1 2\n){2})", done.stdout)


def test_torchruns_spelling(script):
    done = run(
        *("--nproc_per_node", "3", "--dry_run", "--backend", "local", "--rdzv_backend=c10d"),
        *("--rdzv-id", "7", "--rdzv_endpoint", "localhost:0", "--max_restarts=1", "--nnodes=1"),
        *(
            "--role=trainer",
            "--start_method",
            "spawn",
            "--run-path",
            "--monitor-interval",
            "5",
            "-r3",
            "-t",
            "0:1",
            "--standalone",
            "--explain",
            script(""),
        ),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 ranks, started by local")
    assert "ROLE_NAME=trainer" in done.stdout
    assert re.search(r"^ranks on this host +3 +\(--nproc-per-node: 3\)$", done.stderr, re.M)
    assert re.search(r"^restarts +1 +\(--max-restarts\)$", done.stderr, re.M)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.py"], "no such script: none.py (for a module: dtorch-run -m none.py)"),
        (["--config", "bad.toml", "-m", "x"], "bad.toml: unknown key 'thread' (did you mean"),
        (["--nproc-per-node", "0", "-m", "x"], "must be a number of at least 1"),
        (["--nprocs", "2", "-m", "x"], "unknown option --nprocs (did you mean"),
        (["--bind", "socket", "-m", "x"], "--bind must be none, core or numa, got 'socket'"),
        (["--master-port", "{taken}", "-m", "x"], "Address already in use (process {pid} listens"),
    ],
)
def test_usage_errors(tmp_path, args, words):
    (tmp_path / "bad.toml").write_text("thread = 1\n")
    with socket.create_server(("", 0)) as server:
        facts = {"taken": server.getsockname()[1], "pid": os.getpid()}
        args = [word.format(**facts) for word in args]
        done = run("--backend=local", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("dtorch-run: error: ")
    assert words.format(**facts) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_job_leaves_its_folder(script):
    path = script(ONE_ACTS.format(act="print('last words'); raise ValueError('unhappy')"))
    done = run("--backend=local", "-r", "3", path)
    assert "last words" not in done.stdout
    (folder,) = Path("run").iterdir()
    assert str(folder) in done.stderr
    assert (folder / "rank1.out").read_text() == "last words\n"
    assert json.loads((folder / "plan.json").read_text())["ranks"] == 2
    report = json.loads((folder / "report.json").read_text())
    assert (report["exit_code"], report["first"]) == (1, 1)
    assert (folder / "report.txt").read_text().endswith("ValueError: unhappy\n")


@pytest.mark.parametrize("kept", [True, False])
def test_a_good_job_leaves_a_folder_on_demand(script, kept):
    where = ["--log-dir", "logs"] if kept else []
    done = run("--backend=local", *where, script("print('x')"), ranks=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in Path().iterdir()] == (["logs"] if kept else [])
    assert [path.read_text() for path in Path().glob("logs/*/rank0.out")] == ["x\n"] * kept


def test_all_ranks_start_again(script, tmp_path):
    path = script(
        "import os, pathlib, sys\n"
        "attempt = os.environ['TORCHELASTIC_RESTART_COUNT']\n"
        "if attempt < '2' and os.environ['RANK'] == '1': sys.exit(3)\n"
        "if attempt == '2': print('attempt', attempt)\n"
        "else: import time; time.sleep(600)\n"
    )
    done = run("--backend=local", "--max-restarts=2", path)
    assert done.returncode == 0, done.stderr
    assert "attempt 2" in done.stdout
    assert done.stderr.count("rank 1 of 2 failed first: SystemExit: 3") == 2
    assert "starting all ranks again, 2 of 2 times" in done.stderr
    assert run("--backend=local", "--max-restarts=1", path).returncode == 3


def test_a_rank_that_is_stopped_is_told_of_and_may_go_on(script, tmp_path):
    path = script(
        "import os, pathlib, sys, time\n"
        "(pathlib.Path(sys.argv[1]) / f'{os.getpid()}.pid').touch()\n"
        "while not os.path.exists(sys.argv[1] + '/go'): time.sleep(0.01)\n"
    )
    launcher = subprocess.Popen(
        command("--backend=local", path, str(tmp_path)), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    pid = int(next(tmp_path.glob("*.pid")).stem)
    os.kill(pid, signal.SIGSTOP)
    assert launcher.stderr is not None
    assert f"(process {pid}) stands still, stopped by SIGSTOP" in launcher.stderr.readline()
    os.kill(pid, signal.SIGCONT)
    assert "goes on" in launcher.stderr.readline()
    (tmp_path / "go").touch()
    _, errors = launcher.communicate(timeout=DEADLINE)
    assert (launcher.returncode, errors) == (0, "")


def test_a_child_that_has_left_the_session_ends_with_the_job(script, tmp_path):
    path = script(
        "import os, pathlib, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    for fd in (0, 1, 2): os.close(fd)\n"
        "    pathlib.Path(sys.argv[1], f'{os.getpid()}.pid').touch()\n"
        "    time.sleep(600)\n"
        "while not list(pathlib.Path(sys.argv[1]).glob('*.pid')): time.sleep(0.01)\n"
    )
    assert run("--backend=local", path, str(tmp_path), ranks=1).returncode == 0
    (pid,) = (int(path.stem) for path in tmp_path.glob("*.pid"))
    assert not alive(pid)


def test_a_program_that_is_not_python():
    done = run("--backend=local", "--no-python", "sh", "-c", "echo $RANK of $WORLD_SIZE")
    assert sorted(done.stdout.splitlines()) == ["[0] 0 of 2", "[1] 1 of 2"]
    done = run("--backend=local", "--no-python", "no-such-program")
    assert done.returncode == 1
    assert "cannot run no-such-program: No such file or directory" in done.stderr


def test_each_rank_on_its_cores(script):
    path = script("import os\nprint(sorted(os.sched_getaffinity(0)))")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    done = run("--backend=local", "--bind=core", path)
    half = len(cores) // 2
    wanted = [f"[0] {cores[:half]}", f"[1] {cores[half : 2 * half]}"]
    assert sorted(done.stdout.splitlines()) == wanted


def test_under_mpirun_it_becomes_the_rank(script):
    mpirun = machine.look(port=0, ask_mpi=False).mpirun
    if mpirun is None:
        pytest.skip("needs mpirun")
    text = (
        "import os\nfrom mpi4py import MPI\nos.write(1, b'sum %d\\n' % MPI.COMM_WORLD.allreduce(1))"
    )
    start = [mpirun, "-n", "2", sys.executable, "-m", "dtorch_run", script(text)]
    env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(start, capture_output=True, text=True, timeout=DEADLINE, env=env)
    assert (done.returncode, done.stdout) == (0, "sum 2\nsum 2\n")


def test_on_a_terminal_rank_0_has_one_and_shows_its_bar(script):
    path = script(
        "import os, sys\n"
        "sys.stderr.write(f'\\r{os.isatty(2)} 50%\\r{os.isatty(2)} 100%\\n')\n"
        "print('wide', os.get_terminal_size(2).columns if os.isatty(2) else None, file=sys.stderr)"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    launcher = subprocess.Popen(
        command("--backend=local", "--log-dir=logs", path), stderr=theirs, stdout=subprocess.DEVNULL
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # EIO: its end
        while data := terminal.read(1 << 16):
            shown += data
    assert launcher.wait(DEADLINE) == 0
    text = re.sub(r"\x1b\[[0-9;]*[mK]", "", shown.decode())
    assert "[0] True 100%" in text
    assert "[1] False" not in text  # a bar of another rank
    assert "[0] wide 68" in text
    assert "[1] wide None" in text
    (log,) = Path("logs").glob("*/rank1.err")
    assert log.read_text() == "False 100%\nwide None\n"
