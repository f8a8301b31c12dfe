"""DataParallel over virtual devices: the CPU, several times."""

from __future__ import annotations

from collections import namedtuple

import pytest

import dtorch
from dtorch import nn
from dtorch.nn.parallel import (
    DataParallel,
    data_parallel,
    gather,
    parallel_apply,
    replicate,
    scatter,
)

CPUS = ["cpu", "cpu", "cpu"]


class Model(nn.Module):
    """A shared layer, a dict of outputs, a keyword argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 4)
        self.again = self.second

    def forward(self, x, scale=1.0, *, flag=False):
        return {"a": self.again(self.second(self.first(x))), "b": [self.first(x) * scale, flag][:1]}


def model() -> Model:
    dtorch.manual_seed(0)
    return Model().double()


def rows(n: int) -> dtorch.Tensor:
    return dtorch.arange(n * 3).reshape(n, 3).double().sin()


def total(out: dict) -> dtorch.Tensor:
    return out["a"].sum() + (out["b"][0] ** 2).sum()


@pytest.mark.parametrize("n", [1, 2, 7, 9])
def test_outputs_and_gradients_are_the_modules(n):
    m, alone = model(), model()
    x, y = rows(n).requires_grad_(), rows(n).requires_grad_()
    scale = dtorch.arange(n).reshape(n, 1).double()
    out = DataParallel(m, CPUS)(x, scale=scale, flag=True)
    expected = alone(y, scale=scale, flag=True)
    assert dtorch.allclose(out["a"], expected["a"], rtol=1e-12)
    assert dtorch.allclose(out["b"][0], expected["b"][0], rtol=1e-12)
    total(out).backward()
    total(expected).backward()
    for (name, p), q in zip(m.named_parameters(), alone.parameters()):
        assert dtorch.allclose(p.grad, q.grad, rtol=1e-10), name
    assert dtorch.allclose(x.grad, y.grad, rtol=1e-10)


def test_along_another_dimension():
    x = dtorch.arange(12.0).reshape(3, 4)
    assert data_parallel(nn.Tanh(), x, CPUS, dim=1).tolist() == x.tanh().tolist()


def test_the_first_replicas_buffers_are_kept():
    x = rows(6)
    m, alone = nn.BatchNorm1d(3).double(), nn.BatchNorm1d(3).double()
    DataParallel(m, CPUS)(x)
    alone(x[:2])
    assert m.running_mean.tolist() == alone.running_mean.tolist()
    assert m.num_batches_tracked.item() == 1


def test_buffers_of_the_other_replicas_are_lost_as_are_attributes():
    """As torch says: in-place changes of the first replica's buffers are the module's, no others."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("rows", dtorch.zeros(()))
            self.calls = 0

        def forward(self, x):
            self.rows += len(x)
            self.calls += 1
            return self.rows + x

    m = Counts()
    out = DataParallel(m, CPUS)(dtorch.zeros(7))
    assert out.tolist() == [3.0] * 3 + [3.0] * 3 + [1.0]
    assert (m.rows.item(), m.calls) == (3, 0)


def test_hooks_see_every_part():
    m = nn.Linear(3, 2).double()
    seen = []
    m.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    DataParallel(m, CPUS)(rows(7))
    assert sorted(seen) == [1, 3, 3]


def test_an_lstm_and_a_scalar_loss():
    """Outputs that are nested tuples, and 0-d ones, which come as a vector."""
    dtorch.manual_seed(0)
    m, alone = nn.LSTM(3, 2, batch_first=True).double(), nn.LSTM(3, 2, batch_first=True).double()
    alone.load_state_dict(m.state_dict())
    x = dtorch.arange(90).reshape(6, 5, 3).double().sin()
    out, (h, c) = DataParallel(m, CPUS, dim=0)(x)
    expected, (eh, ec) = alone(x)
    assert dtorch.allclose(out, expected, rtol=1e-12)
    # The states have the batch in dim 1, but were put together along dim 0.
    assert h.shape == c.shape == (3, 2, 2)
    assert dtorch.allclose(h.reshape(1, 6, 2), eh, rtol=1e-12)

    class Loss(nn.Module):
        def forward(self, x):
            return x.sum()

    with pytest.warns(UserWarning, match="scalars"):
        assert DataParallel(Loss(), CPUS)(dtorch.ones(7)).tolist() == [3, 3, 1]


def test_one_device_and_no_inputs():
    class Constant(nn.Module):
        def forward(self):
            return dtorch.ones(2)

    x = rows(4)
    m = nn.Linear(3, 2).double()
    assert DataParallel(m, ["cpu"])(x).tolist() == m(x).tolist()
    assert data_parallel(m, x, ["cpu"], output_device=-1).tolist() == m(x).tolist()
    assert DataParallel(Constant(), CPUS)().tolist() == [1, 1]
    assert data_parallel(Constant(), None, CPUS).tolist() == [1, 1]


def test_a_subclass_may_gather_in_its_own_way():
    class Lists(DataParallel):
        def gather(self, outputs, output_device):
            return outputs

    assert [len(out) for out in Lists(nn.Tanh(), CPUS)(rows(7))] == [3, 3, 1]


def test_replicas_are_detached_without_gradients():
    m = nn.Linear(3, 2).double()
    with dtorch.no_grad():
        assert not DataParallel(m, CPUS)(rows(3)).requires_grad
    assert DataParallel(m, CPUS)(rows(3)).requires_grad


def test_modes_are_the_callers_in_every_thread():
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append(dtorch.is_grad_enabled())
            return x

    with dtorch.no_grad():
        DataParallel(Look(), CPUS)(rows(3))
    assert seen == [False] * 3


def test_an_error_comes_out_of_its_thread():
    class Fails(nn.Module):
        def forward(self, x):
            if x[0, 0].item() > 0.1:
                raise KeyError("in a replica")
            return x

    with pytest.raises(KeyError, match="in a replica"):
        DataParallel(Fails(), CPUS)(rows(3))


def test_without_devices_the_module_runs(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    m = DataParallel(nn.Linear(3, 2).double())
    assert m.device_ids == []
    assert m(rows(4)).shape == (4, 2)
    assert list(m.state_dict()) == ["module.weight", "module.bias"]


def test_scatter_and_gather():
    Pair = namedtuple("Pair", "x y")
    x = dtorch.arange(5)
    first, second = scatter(Pair([x, "text"], {"k": x * 2}), ["cpu", "cpu"])
    assert first.x[0].tolist() == [0, 1, 2]
    assert second.x[0].tolist() == [3, 4]
    assert (first.x[1], second.y["k"].tolist()) == ("text", [6, 8])
    back = gather([first.y, second.y], "cpu")
    assert back["k"].tolist() == (x * 2).tolist()
    with pytest.warns(UserWarning, match="scalars"):
        assert gather([dtorch.tensor(1), dtorch.tensor(2)], "cpu").tolist() == [1, 2]
    assert scatter((), ["cpu", "cpu"]) == ((), ())


def test_replicas_of_their_own():
    m = model()
    kept, free = replicate(m, ["cpu", "cpu"]), replicate(m, ["cpu"], detach=True)
    assert kept[1].again is kept[1].second is not m.second
    outs = parallel_apply(kept, [(rows(1),), (rows(2),)])
    assert [len(o["a"]) for o in outs] == [1, 2]
    assert free[0](rows(1))["a"].requires_grad is False


def test_bad_arguments():
    with pytest.raises(RuntimeError, match="equal sizes along dim 0"):
        scatter((rows(4), rows(1)), CPUS)
    with pytest.raises(RuntimeError, match="0-d"):
        scatter(dtorch.tensor(1.0), CPUS)
    with pytest.raises(ValueError, match="2 inputs"):
        parallel_apply([nn.Tanh()], [rows(1), rows(1)])
    with pytest.raises(TypeError, match="str"):
        gather(["a", "b"], "cpu")
    with pytest.raises(ValueError, match="same keys"):
        gather([{"a": rows(1)}, {"b": rows(1)}], "cpu")
