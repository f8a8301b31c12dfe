"""Samplers: exact index sets; DistributedSampler index for index against torch's."""

import itertools
from collections import Counter

import pytest
import torch
from torch.utils.data import DistributedSampler as TorchDistributedSampler

import dtorch
from dtorch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def seeded(seed=0):
    return dtorch.Generator().manual_seed(seed)


def test_sequential():
    assert list(SequentialSampler("abcd")) == [0, 1, 2, 3]


def test_random_is_a_new_permutation_each_pass():
    sampler = RandomSampler(range(50), generator=seeded())
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == list(RandomSampler(range(50), generator=seeded()))


def test_random_without_a_generator_follows_the_default_seed():
    dtorch.manual_seed(7)
    first = list(RandomSampler(range(20)))
    dtorch.manual_seed(7)
    assert list(RandomSampler(range(20))) == first


def test_a_pass_is_not_changed_by_draws_in_between():
    dtorch.manual_seed(7)
    undisturbed = list(RandomSampler(range(20)))
    dtorch.manual_seed(7)
    disturbed = []
    for index in RandomSampler(range(20)):
        dtorch.randperm(3)
        disturbed.append(index)
    assert disturbed == undisturbed


@pytest.mark.parametrize("num_samples", [3, 10, 25])
def test_random_num_samples_starts_over_when_the_data_is_short(num_samples):
    drawn = list(RandomSampler(range(10), num_samples=num_samples, generator=seeded()))
    assert len(drawn) == num_samples == len(RandomSampler(range(10), num_samples=num_samples))
    whole, rest = divmod(num_samples, 10)
    assert sorted(Counter(drawn).values()) == sorted(
        [whole] * (10 - rest) * (whole > 0) + [whole + 1] * rest
    )


def test_random_with_replacement_draws_independently():
    drawn = list(RandomSampler(range(4), replacement=True, num_samples=4000, generator=seeded()))
    # Binomial(4000, 1/4): mean 1000, standard deviation 27; five of them on each side.
    assert all(abs(n - 1000) < 137 for n in Counter(drawn).values())
    assert set(drawn) == {0, 1, 2, 3}


def test_random_over_nothing():
    assert list(RandomSampler([])) == []


@pytest.mark.parametrize("bad", [0, -1, 2.5])
def test_random_refuses_a_bad_count(bad):
    with pytest.raises(ValueError, match="positive integer"):
        RandomSampler(range(3), num_samples=bad)


def test_subset_random():
    sampler = SubsetRandomSampler([3, 5, 9], generator=seeded())
    assert sorted(sampler) == [3, 5, 9]
    assert len(sampler) == 3


def test_weighted_draws_in_proportion():
    sampler = WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=seeded())
    counts = Counter(sampler)
    assert set(counts) == {1, 2}
    assert abs(counts[2] - 3000) < 137  # Binomial(4000, 3/4): five standard deviations
    assert sorted(WeightedRandomSampler([1, 2, 3], 3, replacement=False)) == [0, 1, 2]
    with pytest.raises(ValueError, match="1d sequence"):
        WeightedRandomSampler([[1.0]], 1)
    with pytest.raises(ValueError, match="num_samples=0"):
        WeightedRandomSampler([1.0], 0)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [0, 5, 6])
def test_batch_sampler(n, drop_last):
    ours = BatchSampler(SequentialSampler(range(n)), 3, drop_last)
    theirs = torch.utils.data.BatchSampler(range(n), 3, drop_last)
    assert list(ours) == list(theirs)
    assert len(ours) == len(theirs)


def test_batch_sampler_refuses_bad_arguments():
    with pytest.raises(ValueError, match="batch_size=0"):
        BatchSampler(range(3), 0, False)
    with pytest.raises(ValueError, match="drop_last=1"):
        BatchSampler(range(3), 1, 1)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("length", "ranks"), list(itertools.product([1, 3, 10, 12], [1, 2, 4, 7])))
def test_distributed_unshuffled_is_torchs(length, ranks, drop_last):
    for rank in range(ranks):
        arguments = {"num_replicas": ranks, "rank": rank, "shuffle": False, "drop_last": drop_last}
        ours = DistributedSampler(range(length), **arguments, pad=not drop_last)
        theirs = TorchDistributedSampler(range(length), **arguments)
        assert list(ours) == list(theirs)
        assert len(ours) == len(theirs)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("length", "ranks"), [(10, 1), (10, 4), (3, 7)])
def test_distributed_ranks_deal_out_one_permutation(length, ranks, drop_last):
    def dealt(epoch, seed=0):
        samplers = [
            DistributedSampler(
                range(length), ranks, rank, shuffle=True, seed=seed, drop_last=drop_last
            )
            for rank in range(ranks)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        return [index for row in zip(*samplers, strict=True) for index in row]

    order = dealt(0)
    total = length // ranks * ranks if drop_last else -(-length // ranks) * ranks
    assert len(order) == total
    assert len(set(order[:length])) == min(total, length)
    assert order[length:] == [order[i % length] for i in range(length, total)]
    assert dealt(0) == order
    assert dealt(1, seed=4) == dealt(5)  # a function of their sum, as in torch
    if total >= 8:
        assert dealt(1) != order


def test_distributed_refuses_a_rank_outside():
    with pytest.raises(
        ValueError, match=r"Invalid rank 2, rank should be in the interval \[0, 1\]"
    ):
        DistributedSampler(range(4), num_replicas=2, rank=2)
