"""Batches of worker processes come in shared memory: right, writable, and gone with their last user."""

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import dtorch
from dtorch.utils.data import DataLoader, Dataset

JPEGS = 300
ROW = 1 << 14  # numbers a sample: 64 KiB, more than what travels in the message


class Called(Dataset):
    """Sample i is function(i)."""

    def __init__(self, n, function):
        self.n, self.function = n, function

    def __getitem__(self, index):
        return self.function(index)

    def __len__(self):
        return self.n


def row(i):
    return dtorch.full((ROW,), float(i))


def mapped():
    """Where this process has files in memory mapped, as (start, end)."""
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if "memfd:dtorch " in line]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]


def open_files():
    """Descriptors of files in memory that this process has open."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the folder
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum(link.startswith("/memfd:dtorch ") for link in links)


def is_mapped(address):
    return any(start <= address < end for start, end in mapped())


@pytest.fixture(autouse=True)
def nothing_is_left():
    gc.collect()
    assert mapped() == []
    yield
    gc.collect()  # a caught error's traceback may hold its iterator
    assert multiprocessing.active_children() == []
    assert (mapped(), open_files()) == ([], 0)


def test_big_arrays_lie_in_shared_memory_and_small_ones_need_none():
    def sample(i):
        return {"tensor": row(i), "array": np.full(ROW, i), "name": f"{i}", "label": i}

    for i, batch in enumerate(DataLoader(Called(3, sample), num_workers=2, collate_fn=list)):
        (found,) = batch
        assert is_mapped(found["tensor"].data_ptr())
        assert is_mapped(found["array"].ctypes.data)
        assert dtorch.equal(found["tensor"], row(i))
        assert (found["array"] == i).all()
        assert (found["name"], found["label"]) == (f"{i}", i)
        found["tensor"] += 1  # it is the user's
    del found, batch
    for i, batch in enumerate(DataLoader(range(3), num_workers=1)):
        assert batch.tolist() == [i]
        assert not mapped()


def test_what_is_kept_is_never_written_to_again():
    loader = DataLoader(range(40), 2, num_workers=2, collate_fn=rows)
    kept = list(loader)
    assert [batch[:, 0].tolist() for batch in kept] == [[i, i + 1] for i in range(0, 40, 2)]
    assert all((batch == batch[:, :1]).all() for batch in kept)
    assert len(mapped()) < 16  # what is kept beyond a few is copied


def rows(indices):
    return dtorch.stack([row(i) for i in indices])


def test_slots_are_used_again_also_when_batches_grow():
    loader = DataLoader(range(1, 60), 1, num_workers=1, collate_fn=lambda i: row(7).repeat(i[0]))
    where = set()
    for i, batch in enumerate(loader, 1):
        assert batch.shape == (i * ROW,)
        assert (batch == 7).all()
        where.add(batch.data_ptr())
    assert len(where) < 40
    del batch


def test_a_part_of_a_batch_keeps_its_memory():
    batches = iter(DataLoader(range(30), 1, num_workers=1, collate_fn=rows))
    part = next(batches)[0, 5:9]
    for _ in batches:
        pass
    assert part.tolist() == [0, 0, 0, 0]


def test_a_forked_child_keeps_what_it_has():
    batches = iter(DataLoader(range(30), 1, num_workers=1, collate_fn=rows))
    batch = next(batches)
    go_reader, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go_reader, 1)
        os._exit(0 if (batch == 0).all() else 1)
    del batch
    assert [next(batches)[0, 0].item() for _ in range(20)] == list(range(1, 21))
    os.write(go, b"x")
    _, status = os.waitpid(pid, 0)
    os.close(go)
    os.close(go_reader)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.timeout(60)
def test_a_killed_worker_is_told_at_once_while_another_one_is_busy_for_ever():
    never, victim = threading.Event(), multiprocessing.Pipe(duplex=False)

    def stuck_or_killed(i):
        if i == 2:  # worker 0's second
            never.wait()
        if i == 3:  # worker 1's second
            victim[1].send(os.getpid())
            never.wait()
        return row(i)

    batches = iter(DataLoader(Called(8, stuck_or_killed), num_workers=2))
    kept = [next(batches), next(batches)]
    os.kill(victim[0].recv(), signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"worker 1 \(pid \d+\) is killed by signal: SIGKILL"):
        next(batches)
    assert multiprocessing.active_children() == []
    assert [batch[0, 0].item() for batch in kept] == [0, 1]
    for end in victim:
        end.close()


def test_no_process_is_left_when_the_parent_is_killed():
    script = """
import os, dtorch
from dtorch.utils.data import DataLoader, TensorDataset
batches = iter(DataLoader(TensorDataset(dtorch.zeros(64, 1 << 16)), 4, num_workers=2))
kept = [next(batches), next(batches)]
print(len(kept), flush=True)
os.kill(os.getpid(), 9)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as process:
        # The workers hold the same standard output: this returns when the last one is gone.
        output, _ = process.communicate(timeout=60)
    assert output == "2\n"
    assert process.returncode == -signal.SIGKILL


def test_out_of_order_yields_every_batch_once_and_does_not_wait_for_the_slow():
    done = multiprocessing.Event()

    def first_is_last(i):
        if i == 0:
            done.wait(60)
        return i

    loader = DataLoader(Called(6, first_is_last), num_workers=2, in_order=False)
    found = []
    for batch in loader:
        found.append(batch.item())
        with pytest.raises(RuntimeError, match="in_order=False"):
            loader.state_dict()
        if len(found) == 2:
            done.set()
    assert found[0] == 1
    assert sorted(found) == list(range(6))
    assert loader.state_dict()["taken"] == 0


def test_four_workers_over_jpegs_yield_what_none_do(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="the images are made and read with Pillow")
    colours = np.random.default_rng(0).integers(0, 256, (JPEGS, 4, 4, 3), dtype=np.uint8)
    for i, colour in enumerate(colours):
        image.fromarray(colour).resize((24, 24)).save(tmp_path / f"{i}.jpg")

    def read(i):
        with image.open(tmp_path / f"{i}.jpg") as picture:
            x = dtorch.from_numpy(np.asarray(picture).copy())  # (24, 24, 3)
        return x.permute(2, 0, 1).float() / 255, i

    def batches(num_workers):
        generator = dtorch.Generator().manual_seed(4)
        loader = DataLoader(
            Called(JPEGS, read), 64, True, num_workers=num_workers, generator=generator
        )
        return list(loader)

    here, there = batches(0), batches(4)
    assert len(here) == len(there) == -(-JPEGS // 64)
    for (images, labels), (same_images, same_labels) in zip(here, there, strict=True):
        assert images.shape[1:] == (3, 24, 24)
        assert dtorch.equal(images, same_images)
        assert dtorch.equal(labels, same_labels)
