"""DataLoader with worker processes: same batches, told errors, no hang, nothing left behind."""

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import dtorch
from dtorch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info
from dtorch.utils.data import worker as worker_module


class Called(Dataset):
    """Sample i is function(i)."""

    def __init__(self, n, function):
        self.n = n
        self.function = function

    def __getitem__(self, index):
        return self.function(index)

    def __len__(self):
        return self.n


class Share(IterableDataset):
    """The numbers below n, dealt out to the workers."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, self.n, info.num_workers))


def first(batch):
    return batch[0]


def listed(loader):
    return [batch.tolist() for batch in loader]


def pids(loader):
    return set(loader)


def whose_pid(_index):
    return os.getpid()


@pytest.fixture(autouse=True)
def no_worker_left():
    yield
    gc.collect()  # a caught error's traceback may hold its iterator
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("num_workers", [1, 2, 5])
@pytest.mark.parametrize("arguments", [{}, {"shuffle": True}, {"drop_last": True}])
def test_same_batches_as_without_workers(num_workers, arguments):
    def batches(n):
        generator = dtorch.Generator().manual_seed(2)
        loader = DataLoader(range(17), 3, num_workers=n, generator=generator, **arguments)
        return [listed(loader), listed(loader)]

    assert batches(num_workers) == batches(0)


def test_the_number_of_workers_never_changes_an_order():
    def batches(n):
        dtorch.manual_seed(3)
        loaders = [DataLoader(range(9), 2, shuffle=True, num_workers=n) for _ in range(2)]
        return [(a.tolist(), b.tolist()) for a, b in zip(*loaders, strict=True)]

    assert batches(2) == batches(0)


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_other_start_methods(context):
    x = dtorch.arange(20000, dtype=dtorch.float64).reshape(5, 4000)  # enough for shared memory
    loader = DataLoader(
        TensorDataset(x), batch_size=2, num_workers=2, multiprocessing_context=context
    )
    assert [batch[0].tolist() for batch in loader] == [x[i : i + 2].tolist() for i in (0, 2, 4)]


def test_big_batches_do_not_fit_a_pipe():
    x = dtorch.arange(3 * 2**18, dtype=dtorch.int64).reshape(3, 2**18)  # 2 MiB a row
    loader = DataLoader(TensorDataset(x), num_workers=2, batch_size=1)
    assert all(dtorch.equal(batch[0], x[i : i + 1]) for i, batch in enumerate(loader))


def test_a_batch_can_be_written_to():
    batch = next(iter(DataLoader(TensorDataset(dtorch.zeros(4)), num_workers=1, batch_size=2)))[0]
    batch += 1
    assert batch.tolist() == [1, 1]


def test_streams_take_turns_until_each_is_exhausted():
    # Worker 0 has 0 2 4 6 8, worker 1 has 1 3 5 7; worker 0 lasts longer by one batch.
    assert listed(DataLoader(Share(9), 2, num_workers=2)) == [[0, 2], [1, 3], [4, 6], [5, 7], [8]]
    assert listed(DataLoader(Share(9), 2, num_workers=2, drop_last=True)) == [
        [0, 2],
        [1, 3],
        [4, 6],
        [5, 7],
    ]
    assert listed(DataLoader(Share(2), 2, num_workers=3)) == [[0], [1]]


def test_worker_info():
    def describe(_index):
        info = get_worker_info()
        return info.id, info.num_workers, info.seed, type(info.dataset)

    infos = list(DataLoader(Called(4, describe), num_workers=2, collate_fn=first))
    seed = infos[0][2]
    assert infos == [(0, 2, seed, Called), (1, 2, seed + 1, Called)] * 2
    assert get_worker_info() is None


def test_workers_draw_different_numbers_and_follow_the_generator():
    def draw(_index):
        return random.random(), float(np.random.rand()), dtorch.rand(1).item()

    def drawn(seed):
        generator = dtorch.Generator().manual_seed(seed)
        loader = DataLoader(Called(6, draw), num_workers=3, collate_fn=first, generator=generator)
        return list(loader)

    values = drawn(1)
    for column in zip(*values, strict=True):
        assert len(set(column)) == 6
    assert drawn(1) == values
    assert drawn(2) != values


def test_worker_init_fn_runs_once_in_each_worker():
    calls = []
    loader = DataLoader(
        Called(6, lambda _: list(calls)),
        num_workers=2,
        worker_init_fn=calls.append,
        collate_fn=first,
    )
    assert list(loader) == [[0], [1]] * 3
    assert calls == []


def test_workers_are_new_each_pass_unless_persistent():
    data = Called(4, whose_pid)
    brief = DataLoader(data, num_workers=2, collate_fn=first)
    assert len(pids(brief) | pids(brief)) == 4
    lasting = DataLoader(data, num_workers=2, collate_fn=first, persistent_workers=True)
    assert len(pids(lasting)) == 2
    assert pids(lasting) == pids(lasting)
    assert os.getpid() not in pids(lasting)


@pytest.mark.parametrize("make", [range, Share])
def test_persistent_workers_after_an_abandoned_pass(make):
    loader = DataLoader(make(9), 2, num_workers=2, persistent_workers=True)
    whole = listed(loader)
    next(iter(loader))
    assert listed(loader) == whole


def test_leaving_a_pass_early_ends_the_workers():
    for _batch in DataLoader(range(100), num_workers=2):
        break
    assert multiprocessing.active_children() == []


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ValueError("boom"), ValueError),
        (KeyError("boom"), KeyError),
        (StopIteration("boom"), RuntimeError),  # would pass for the end of the data
        (Odd("boom", 2), RuntimeError),  # can't be made of a message alone
        (type("Local", (Exception,), {})("boom"), RuntimeError),  # can't be pickled
    ],
    ids=repr,
)
def test_a_workers_error_is_raised_here_with_its_traceback(error, seen):
    def fail_at_three(index):
        if index == 3:
            raise error
        return index

    batches = iter(DataLoader(Called(5, fail_at_three), num_workers=2))
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(seen) as caught:
        next(batches)
    text = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Tr" in text
    assert "in fail_at_three" in text
    assert "boom" in text
    assert next(batches).item() == 4  # the loader goes on, if its user wants to


def test_errors_in_init_iter_and_pickling_are_told_too():
    def broken(*_):
        raise ArithmeticError("broken")

    class Broken(IterableDataset):
        __iter__ = broken

    for loader in (
        DataLoader(range(3), num_workers=1, worker_init_fn=broken),
        DataLoader(Broken(), num_workers=1),
    ):
        with pytest.raises(ArithmeticError, match=r"(?s)worker process 0.*in broken"):
            list(loader)
    with pytest.raises((AttributeError, RuntimeError), match="(?s)worker process 0.*<lambda>"):
        list(DataLoader(Called(1, lambda _: lambda: 0), num_workers=1, collate_fn=first))


@pytest.mark.parametrize("persistent", [False, True])
def test_a_killed_worker_is_named(persistent):
    def kill(index):
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    loader = DataLoader(
        Called(9, kill), num_workers=2, collate_fn=first, persistent_workers=persistent
    )
    for _ in range(2):  # also a second pass, with new workers
        with pytest.raises(
            RuntimeError, match=r"worker 1 \(pid \d+\) is killed by signal: SIGKILL"
        ):
            list(loader)


def test_a_worker_that_left_is_told_with_its_code():
    with pytest.raises(
        RuntimeError, match=r"worker 0 \(pid \d+\) exited unexpectedly with exit code 7"
    ):
        list(DataLoader(Called(2, lambda _: os._exit(7)), num_workers=1))


def test_a_silent_worker_runs_into_the_timeout(monkeypatch):
    monkeypatch.setattr(worker_module, "STOP_SECONDS", 0.1)
    never = threading.Event()
    loader = DataLoader(Called(1, lambda _: never.wait()), num_workers=1, timeout=0.2)
    with pytest.raises(RuntimeError, match=r"timed out after 0.2 seconds waiting for worker 0"):
        list(loader)


def test_loaders_in_several_threads_notice_their_own_dead_worker():
    def kill(_index):
        os.kill(os.getpid(), signal.SIGKILL)

    told = []

    def load():
        try:
            list(DataLoader(Called(4, kill), num_workers=2))
        except RuntimeError as error:
            told.append(str(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 4
    assert all("SIGKILL" in text for text in told)


def test_a_loader_inside_a_worker_says_what_to_do():
    def nested(_index):
        return list(DataLoader(range(2), num_workers=1))

    with pytest.raises(RuntimeError, match="num_workers=0"):
        list(DataLoader(Called(1, nested), num_workers=1))


@pytest.mark.parametrize(
    "ending", ["os._exit(3)", "os.kill(os.getpid(), 9)", "sys.exit(3)", "1 / 0"]
)
def test_no_worker_outlives_its_parent(ending):
    script = f"""
import os, sys
from dtorch.utils.data import DataLoader
first, second = (iter(DataLoader(range(1000), num_workers=2)) for _ in range(2))
print(next(first).item(), next(second).item(), flush=True)
{ending}
"""
    # The workers hold the same standard output: communicate() returns when the last one is gone.
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as process:
        output, _ = process.communicate(timeout=30)
    assert output == "0 0\n"
    assert process.returncode != 0
