"""python -m bench.gpu_check, where there is no GPU."""

import json
import subprocess
import sys

import pytest

import dtorch
from bench import gpu_check, gpu_sections
from dtorch.core.backend import visible


def main(tmp_path, *options):
    command = [sys.executable, "-m", "bench.gpu_check", "--out", str(tmp_path), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.mark.skipif(visible.device_count() > 0, reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_that_nothing_was_run(tmp_path):
    done = main(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no GPU: not run" in done.stdout
    assert "not yet run" in (tmp_path / "gpu.md").read_text()


def test_a_dry_run_goes_through_the_sections(tmp_path):
    done = main(tmp_path, "--device", "cpu", "--only", "probe,kernels")
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = tmp_path.glob("*.json")
    report = json.loads(written.read_text())
    assert [s["status"] for s in report["sections"].values()] == ["ok", "ok"]
    rows = report["sections"]["kernels"]["rows"]
    assert len(rows) == 3 * len(gpu_sections._calls()) + 1
    page = written.with_suffix(".md").read_text()
    assert "| kernels | ok |" in page
    assert "dropout's masks" in page


def test_values_decide_and_what_is_known_is_kept(tmp_path, monkeypatch, capsys):
    def wrong(device):
        yield {"what": "right", "ok": True}
        yield {"what": "slow", "ms": 1e9}
        yield {"what": "wrong", "ok": False}

    monkeypatch.setitem(gpu_check.SECTIONS, "wrong", gpu_sections.Section(wrong, 1, ""))
    result = tmp_path / "result.json"
    assert gpu_check.child("wrong", "cpu", result) == 1
    found = json.loads(result.read_text())
    assert found["failures"] == ["wrong"]
    assert len(found["rows"]) == 3
    assert gpu_check.table(found["rows"])[0] == "| what | ok | ms |"


def test_a_section_that_takes_too_long_is_stopped():
    assert gpu_check.run("probe", "cpu", 0.01)["status"] == "stopped after 0 s"


def test_a_nan_on_one_side_is_an_error():
    x, y = dtorch.tensor([1.0, float("nan")]), dtorch.tensor([1.0, 2.0])
    assert gpu_sections._error(x, x) == 0
    assert gpu_sections._error(x, y) == gpu_sections._error(y, x) == float("inf")


def test_limits_fit_the_budget():
    assert sum(s.limit for s in gpu_sections.SECTIONS.values()) <= gpu_check.BUDGET < 540
