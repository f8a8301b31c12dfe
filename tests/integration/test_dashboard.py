"""The dashboard over HTTP, and in a browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

pytest.importorskip("zmq")

from dtorch_run import beats  # noqa: E402
from dtorch_run.dashboard import Dashboard  # noqa: E402
from dtorch_run.viewer import JobView  # noqa: E402

DEADLINE = 60.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def course() -> dict:
    """What is known of a job of three ranks, of which the second holds up the first."""
    board = beats.Board(3)
    for i in range(11):
        for rank, waited in enumerate((0.9, 0.1)):
            board.add(
                beats.Beat(
                    rank=rank, number=i, seconds=float(i), host="<b>node07</b>", pid=7 + rank,
                    device="cpu", steps=4 * i, samples=128 * i, loss=2.0**-i, waited=waited * i,
                    memory=64 << 20, last="#9 all_reduce 'weight' & more", waits=rank == 0,
                )
            )  # fmt: skip
    return {"job": "job-1", **board.table(), "past": board.past, "dropped": {"stranger": 2}}


@pytest.fixture
def dashboard(tmp_path) -> Iterator[Dashboard]:
    """Of a job that has ended: its folder tells."""
    folder = tmp_path / "job-1"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"exit_code": 3, "status": course()}))
    with Dashboard(JobView(str(folder), None)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(url: str, **kwargs) -> tuple[int, str, dict]:
    """(code, text, headers)"""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, **kwargs), timeout=DEADLINE
        ) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def test_it_listens_to_this_machine_alone_and_to_who_knows_the_token(dashboard):
    base, token = dashboard.url.split("?token=")
    assert dashboard.server_address[0] == "127.0.0.1"
    assert len(token) >= 22  # 128 bits
    for wrong in (
        "",
        "?token=",
        f"?token={token[:-1]}",
        f"?token={token}x",
        "?token=%ff",
        f"?t={token}",
    ):
        for page in ("", "status", "other"):
            code, text, _ = get(f"{base}{page}{wrong}")
            assert code == 403
            assert "job-1" not in text
    assert get(f"{base}../dashboard.py?token={token}")[0] == 404
    assert get(dashboard.url, method="POST", data=b"")[0] == 501


def test_the_page_loads_nothing_from_elsewhere(dashboard):
    code, page, headers = get(dashboard.url)
    assert code == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert not re.search(r"https?://|//\w+\.|innerHTML|eval\(", page)


def test_its_numbers_are_the_jobs(dashboard):
    code, text, headers = get(dashboard.url.replace("/?", "/status?"))
    assert (code, headers["Content-Type"]) == (200, "application/json")
    told = json.loads(text)
    assert (told["name"], told["state"]) == ("job-1", "ended with exit code 3")
    status = told["status"]
    assert [row["samples_per_s"] for row in status["ranks"]] == [128.0, 128.0]
    assert [row["wait_share"] for row in status["ranks"]] == pytest.approx([0.9, 0.1])
    assert (status["straggler"], status["silent"]) == (1, [2])
    assert status["past"][-1][1:] == [40, 2.0**-10 * 1.5, pytest.approx(256.0, rel=0.2)]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it(dashboard, tmp_path):
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--virtual-time-budget=2000", "--dump-dom", dashboard.url],
        capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    body = done.stdout
    rows = re.findall(r'<tr class="(\w*)">(.*?)</tr>', body, re.DOTALL)
    cells = [
        [html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for _, row in rows
    ]
    assert [kind for kind, _ in rows] == ["", "slow"]
    assert cells == [
        ["0", "<b>node07</b>", "cpu", "40", "4", "128", "0.0009766", "64 MiB", " 90 %",
         "waits for #9 all_reduce 'weight' & more"],
        ["1", "<b>node07</b>", "cpu", "40", "4", "128", "0.0009766", "64 MiB", " 10 %",
         "#9 all_reduce 'weight' & more"],
    ]  # fmt: skip
    notes = re.search(r'<div id="notes">(.*?)</div>', body, re.DOTALL)
    assert notes is not None
    assert notes[1].splitlines() == [
        "the others wait for rank 1", "2 dropped: stranger", "nothing yet from rank 2",
    ]  # fmt: skip
    curves = re.findall(r'<path d="M([^"]*)"', body)
    assert [curve.count("L") for curve in curves] == [9, 9]  # ten points each
    first, *_, last = (tuple(map(float, point.split(","))) for point in curves[0].split("L"))
    assert (first[1], last) == (3.0, (100.0, 97.0))  # from the top left to the bottom right
    assert "256 samples/s" in body
