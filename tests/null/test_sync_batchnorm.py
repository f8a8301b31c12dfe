"""SyncBatchNorm on ranks that are threads, against BatchNorm of the whole batch."""

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn

X = dtorch.arange(6 * 3 * 4).reshape(6, 3, 4).double().sin()
WEIGHTS = dtorch.arange(6 * 3 * 4).reshape(6, 3, 4).double().cos()


def layer(kind=nn.BatchNorm1d, **kwargs):
    m = kind(3, **kwargs).double()
    with dtorch.no_grad():
        for i, p in enumerate(m.parameters()):
            p.copy_(dtorch.tensor([0.5, 1.5, -1.0]) + i)
    return m


def run(m, part):
    """Output and gradients of some rows, twice: running statistics count, too."""
    x = X[part].clone().requires_grad_()
    m(x)
    out = m(x)
    (out * WEIGHTS[part]).sum().backward()
    return out.detach(), x.grad, [p.grad for p in m.parameters()], dict(m.named_buffers())


@pytest.mark.parametrize("cuts", [[0, 3, 6], [0, 1, 4, 6], [0, 6, 6]], ids=str)
@pytest.mark.parametrize("kwargs", [{}, {"momentum": None}, {"affine": False}], ids=str)
def test_ranks_together_are_one_batch(cuts, kwargs):
    def body():
        rank = dist.get_rank()
        return run(layer(nn.SyncBatchNorm, **kwargs), slice(cuts[rank], cuts[rank + 1]))

    out, grad, grads, buffers = run(layer(**kwargs), slice(None))
    ranks = dist.run_local(body, len(cuts) - 1)
    dtorch.testing.assert_close(dtorch.cat([r[0] for r in ranks]), out)
    dtorch.testing.assert_close(dtorch.cat([r[1] for r in ranks]), grad)
    for i, g in enumerate(grads):
        dtorch.testing.assert_close(sum(r[2][i] for r in ranks), g)
    for rank in ranks:
        dtorch.testing.assert_close(rank[3], buffers)


def test_a_group_of_some_ranks():
    def body():
        pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        rank = dist.get_rank()
        m = layer(nn.SyncBatchNorm, process_group=pairs[rank // 2])
        return run(m, slice(rank, rank + 1))[0]

    ranks = dist.run_local(body, 4)
    for pair in (0, 2):
        whole = run(layer(), slice(pair, pair + 2))[0]
        dtorch.testing.assert_close(dtorch.cat(ranks[pair : pair + 2]), whole)


def test_one_rank_and_evaluation_are_batch_norm():
    for training in (True, False):
        m = layer(nn.SyncBatchNorm).train(training)
        dtorch.testing.assert_close(run(m, slice(None)), run(layer().train(training), slice(None)))

    def evaluated():  # without a collective: the ranks need not agree
        m = layer(nn.SyncBatchNorm).eval()
        return m(X).sum() if dist.get_rank() else None

    dist.run_local(evaluated, 2)


def test_half_precision_has_statistics_in_single():
    def body():
        m = layer(nn.SyncBatchNorm).bfloat16()
        return m(X[dist.get_rank() :: 2].bfloat16() * 100)

    first, second = dist.run_local(body, 2)
    assert first.dtype is dtorch.bfloat16
    whole = layer().float()(X.float() * 100)
    dtorch.testing.assert_close(first.float(), whole[::2], rtol=0.05, atol=0.05)


def test_conversion_keeps_the_tensors():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())).eval()
    made = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert made is model
    assert type(made[1][0]) is nn.SyncBatchNorm
    assert not made[1][0].training
    single = nn.BatchNorm2d(4, affine=False)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(single)
    assert converted.running_mean is single.running_mean
    assert converted.weight is None


def test_wrong_input():
    with pytest.raises(ValueError, match="at least 2D"):
        layer(nn.SyncBatchNorm)(dtorch.ones(3))
    with pytest.raises(ValueError, match="non-zero"):
        layer(nn.SyncBatchNorm)(dtorch.ones(3, 0))


def test_in_ddp_the_gradients_are_those_of_the_whole_batch():
    def model(kind):
        dtorch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), kind(3), nn.Tanh(), nn.Linear(3, 1)).double()

    inputs = X[:, 0]

    def body():
        m = nn.parallel.DistributedDataParallel(model(nn.SyncBatchNorm))
        m(inputs[dist.get_rank() :: 3]).square().mean().backward()
        return [p.grad for p in m.parameters()]

    whole = model(nn.BatchNorm1d)
    whole(inputs).square().mean().backward()
    for grads in dist.run_local(body, 3):
        dtorch.testing.assert_close(grads, [p.grad for p in whole.parameters()])
