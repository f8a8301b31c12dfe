"""Samplers and loaders that stop and go on: what is left is exactly what had not been taken."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dtorch
from dtorch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    ShardSampler,
)
from dtorch.utils.data.distributed import shards_of


def some(batches, n):
    return [batch for _, batch in zip(range(n), batches)]


def ids(batches):
    return [i for batch in batches for i in batch]


# ---- any number of ranks, killed and started again at any time -----------------------------------

LIVES = st.lists(  # ranks, samples a batch on each, batches until all are killed
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 4)), max_size=4
)


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 60), lives=LIVES, last=st.integers(1, 5), pad=st.booleans())
def test_every_sample_is_taken_once_whoever_is_killed_and_however_many_go_on(
    length, lives, last, pad
):
    taken, state = [], None
    for ranks, batch_size, batches in [*lives, (last, 3, None)]:
        states = []
        for rank in range(ranks):
            sampler = DistributedSampler(range(length), ranks, rank, seed=3, pad=pad)
            loader = DataLoader(range(length), batch_size, sampler=sampler, collate_fn=list)
            if state is not None:
                loader.load_state_dict(state)
            passing = iter(loader)
            taken += ids(passing if batches is None else some(passing, batches))
            states.append(loader.state_dict())
        state = states[0]  # of the rank that runs out last
        if state["sampler"]["epoch"] == 1:
            break
    count = Counter(taken)
    assert set(count) == set(range(length))
    if pad:
        assert len(taken) - length < max([last, *(n for n, _, _ in lives)])
    else:
        assert max(count.values()) == 1
    assert state["sampler"] == {"epoch": 1, "position": 0}


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 70), lives=LIVES, drop_last=st.booleans())
def test_global_batches_are_the_same_shards_on_any_number_of_ranks(length, lives, drop_last):
    def batches(ranks, state, n):
        """What n global batches consist of, shard by shard, and the state afterwards."""
        samplers = [
            ShardSampler(range(length), 16, 8, ranks, rank, seed=5, drop_last=drop_last)
            for rank in range(ranks)
        ]
        if state is not None:
            for sampler in samplers:
                sampler.load_state_dict(state)
        by_rank = [some(sampler, n) for sampler in samplers]
        found = [[s for part in parts for s in part] for parts in zip(*by_rank, strict=True)]
        states = [s.state_dict() for s in samplers]
        assert states == states[:1] * ranks
        return found, states[0]

    whole, _ = batches(1, None, 100)
    assert len(whole) == (length // 16 if drop_last else -(-length // 16))
    assert all(len(shard.indices) == 2 for batch in whole for shard in batch)
    assert len({shard.seed for batch in whole for shard in batch}) == 8 * len(whole)
    pieces, state = [], None
    for ranks, _, n in [*lives, (8, 0, 100)]:
        found, state = batches(ranks, state, n)
        pieces += found
        if state["epoch"] == 1:
            break
    assert pieces == whole
    count = Counter(i for batch in whole for shard in batch for i in shard.indices)
    if not drop_last:
        assert set(count) == set(range(length))


def test_shards_are_dealt_in_runs_about_equally():
    assert [list(shards_of(r, 3, 8)) for r in range(3)] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    with pytest.raises(ValueError, match="4 shards and 5 ranks"):
        shards_of(0, 5, 4)


# ---- epochs --------------------------------------------------------------------------------------


def test_passes_are_of_epoch_after_epoch_unless_set():
    def order(epoch):
        sampler = DistributedSampler(range(20), 2, 0)
        sampler.set_epoch(epoch)
        return list(sampler)

    sampler = DistributedSampler(range(20), 2, 0)
    assert [list(sampler) for _ in range(3)] == [order(0), order(1), order(2)]
    for epoch in (2, 2, 7):  # torch's way: before each pass
        sampler.set_epoch(epoch)
        assert list(sampler) == order(epoch)
    abandoned = iter(sampler)
    next(abandoned)
    assert list(sampler) == order(9)


def test_setting_the_epoch_that_was_loaded_keeps_the_position():
    sampler = DistributedSampler(range(20), 2, 0, seed=1)
    sampler.load_state_dict({"epoch": 3, "position": 8})
    sampler.set_epoch(3)
    assert len(sampler) == 6
    rest = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler)[4:] == rest
    assert len(sampler) == 10
    with pytest.raises(ValueError, match="sample 21 of an epoch, but the dataset has 20"):
        sampler.load_state_dict({"epoch": 0, "position": 21})


def test_evaluation_takes_each_sample_once_and_training_equally_many_a_rank():
    evaluation = [list(DistributedSampler(range(10), 4, r, shuffle=False)) for r in range(4)]
    assert evaluation == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]
    training = [list(DistributedSampler(range(10), 4, r)) for r in range(4)]
    assert [len(indices) for indices in training] == [3] * 4
    with pytest.raises(ValueError, match="exclude each other"):
        DistributedSampler(range(10), 4, 0, drop_last=True, pad=True)


# ---- loaders -------------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(23))


def shuffled(num_workers):
    generator = dtorch.Generator().manual_seed(4)
    return DataLoader(
        range(23), 3, shuffle=True, generator=generator, num_workers=num_workers, collate_fn=list
    )


def by_a_sampler(num_workers):
    sampler = RandomSampler(range(23), generator=dtorch.Generator().manual_seed(4))
    return DataLoader(range(23), 3, sampler=sampler, num_workers=num_workers, collate_fn=list)


def dealt(num_workers):
    sampler = DistributedSampler(range(23), 1, 0)
    return DataLoader(range(23), 3, sampler=sampler, num_workers=num_workers, collate_fn=list)


def stream(num_workers):
    return DataLoader(Stream(), 3, num_workers=num_workers, collate_fn=list)


@pytest.mark.parametrize("stop", [0, 3, 8])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("make", [shuffled, dealt, stream])
def test_a_loader_goes_on_with_exactly_the_batches_that_were_left(make, num_workers, stop):
    undisturbed = make(num_workers)
    first = list(undisturbed)
    second = list(undisturbed) if make is not stream else []
    stopped = make(num_workers)
    assert some(stopped, stop) == first[:stop]
    between = make(0)  # loaded and saved again, before it has gone on
    between.load_state_dict(stopped.state_dict())
    other = make(2 - num_workers if make is not stream else num_workers)
    other.load_state_dict(between.state_dict())
    assert list(other) == first[stop:]
    if second:
        assert list(other) == second


def test_after_a_pass_its_state_is_the_next_ones():
    for make in (shuffled, dealt):
        loader, other = make(0), make(2)
        list(loader)
        other.load_state_dict(loader.state_dict())
        assert list(other) == list(loader)


def test_the_default_generator_is_left_as_the_user_has_it():
    def loader():
        return DataLoader(range(20), 2, shuffle=True, collate_fn=list)

    dtorch.manual_seed(3)
    undisturbed = loader()
    passing = iter(undisturbed)
    head = some(passing, 4)
    state, drawn = undisturbed.state_dict(), dtorch.rand(2).tolist()
    rest = list(passing)
    assert sorted(ids(head + rest)) == list(range(20))

    dtorch.manual_seed(3)
    iter(loader())
    other = loader()
    other.load_state_dict(state)
    resumed = iter(other)
    assert dtorch.rand(2).tolist() == drawn
    assert list(resumed) == rest


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_what_is_drawn_beside_the_batches_is_as_if_never_stopped(stop):
    """Two passes of five batches, and a random number (dropout, say) beside each batch."""

    def make():
        sampler = DistributedSampler(range(10), num_replicas=1, rank=0)
        return DataLoader(range(10), 2, sampler=sampler, collate_fn=list)

    def passes(loader):
        while True:
            yield from ((batch, dtorch.rand(()).item()) for batch in loader)

    dtorch.manual_seed(5)
    whole = some(passes(make()), 10)
    dtorch.manual_seed(5)
    first = make()
    assert some(passes(first), stop) == whole[:stop]
    state, generator = first.state_dict(), dtorch.get_rng_state()
    dtorch.manual_seed(6)
    second = make()
    second.load_state_dict(state)
    assert second.state_dict()["under_way"]
    dtorch.set_rng_state(generator)
    assert some(passes(second), 10 - stop) == whole[stop:]


def test_states_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="without a StatefulSampler"):
        dealt(0).load_state_dict(by_a_sampler(0).state_dict())
    with pytest.raises(ValueError, match="with a StatefulSampler"):
        by_a_sampler(0).load_state_dict(dealt(0).state_dict())


class Noisy(Dataset):
    """Each sample is its index, and numbers from the three generators that augmentations use."""

    def __len__(self):
        return 32

    def __getitem__(self, i):
        return i, dtorch.rand(()).item(), random.random(), np.random.rand()


def test_what_samples_draw_depends_on_their_shard_alone():
    def shards(ranks, num_workers):
        parts = []
        for rank in range(ranks):
            sampler = ShardSampler(Noisy(), 16, 4, ranks, rank)
            parts.append(
                DataLoader(Noisy(), batch_sampler=sampler, num_workers=num_workers, collate_fn=list)
            )
        assert all(len(part) == 2 for part in parts)
        return [[shard for part in batch for shard in part] for batch in zip(*parts)]

    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    expected = shards(1, 0)
    assert (
        len({number for batch in expected for shard in batch for s in shard for number in s[1:]})
        == 96
    )
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert shards(2, 0) == expected
    assert shards(3, 2) == expected
