"""Memory that processes share.  (No torch here: a spawned process imports this file.)"""

import io
import multiprocessing
import pickle

import pytest

import dtorch
from dtorch import nn


def add_one(t, queue, done):
    with dtorch.no_grad():
        t.add_(1)
    queue.put(t[1])
    done.wait(30)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_memory(method):
    context = multiprocessing.get_context(method)
    queue, done = context.Queue(), context.Event()
    p = nn.Parameter(dtorch.zeros(2, 3)).share_memory_()
    assert p.is_shared()
    child = context.Process(target=add_one, args=(p.detach(), queue, done))
    child.start()
    row = queue.get(timeout=30)
    done.set()
    child.join(30)
    assert row.is_shared()
    row.fill_(5)
    assert p.tolist() == [[1, 1, 1], [5, 5, 5]]


def test_sharing_takes_the_views_along():
    base = dtorch.arange(6.0).reshape(2, 3)
    row, turned = base[1], base.T
    assert not row.is_shared()
    assert row.share_memory_() is row
    assert base.is_shared()
    assert turned.is_shared()
    base.fill_(3)
    assert row.tolist() == [3, 3, 3]
    assert turned.stride() == (1, 3)
    where = base.data_ptr()
    assert base.share_memory_().data_ptr() == where
    assert dtorch.zeros(0).share_memory_().shape == (0,)
    with pytest.raises(RuntimeError, match="not resizable"):
        base.untyped_storage().resize_(100)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).share_memory()
    assert all(t.is_shared() for t in model.state_dict().values())


def test_sharing_takes_detached_tensors_along():
    p = nn.Parameter(dtorch.zeros(2, 3))
    p.detach().share_memory_()
    assert p.is_shared()
    q = nn.Parameter(dtorch.zeros(2, 3))
    detached = q.detach()
    q.share_memory_()
    detached.fill_(1)
    assert q.sum() == 6


def train(model):
    for kind in (dtorch.optim.SGD, dtorch.optim.Adam):
        optimizer = kind(model.parameters(), lr=0.1)
        model(dtorch.ones(4, 3)).pow(2).sum().backward()
        optimizer.step()


def test_a_module_trains_in_another_process():
    model = nn.Linear(3, 2).share_memory()
    before = model.weight.tolist()
    child = multiprocessing.get_context("fork").Process(target=train, args=(model,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert model.weight.tolist() != before


def test_an_ordinary_pickle_of_shared_memory_is_a_copy():
    t = dtorch.ones(3).share_memory_()
    got = pickle.loads(pickle.dumps([t, t[1:]]))
    t.fill_(2)
    assert got[0].tolist() == [1, 1, 1]
    got[0].fill_(4)
    assert got[1].tolist() == [4, 4]
    file = io.BytesIO()
    dtorch.save(t, file)
    file.seek(0)
    assert not dtorch.load(file).is_shared()
