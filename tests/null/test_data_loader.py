"""DataLoader in one process: batches, order, lengths, and what it refuses."""

import pytest
import torch

import dtorch
from dtorch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, TensorDataset


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def listed(loader):
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 20])
@pytest.mark.parametrize("make", [list, Stream])
def test_batches_are_torchs(make, batch_size, drop_last):
    data = Stream(10) if make is Stream else list(range(10))
    theirs_data = list(range(10))
    ours = DataLoader(data, batch_size, drop_last=drop_last)
    theirs = torch.utils.data.DataLoader(theirs_data, batch_size, drop_last=drop_last)
    assert listed(ours) == listed(theirs)
    assert len(ours) == len(theirs)


def test_tuples_of_tensors():
    x = dtorch.arange(8, dtype=dtorch.float32).reshape(4, 2)
    images, labels = next(iter(DataLoader(TensorDataset(x, dtorch.arange(4)), batch_size=3)))
    assert images.tolist() == x[:3].tolist()
    assert images.dtype is dtorch.float32
    assert labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("make", [list, Stream])
def test_without_batching_samples_are_only_converted(make):
    data = Stream(3) if make is Stream else [0, 1, 2]
    assert list(DataLoader(data, batch_size=None)) == [0, 1, 2]
    assert list(DataLoader(data, batch_size=None, collate_fn=str)) == ["0", "1", "2"]


def test_shuffle_is_a_new_order_each_pass_and_follows_the_generator():
    loader = DataLoader(range(30), 30, shuffle=True, generator=dtorch.Generator().manual_seed(1))
    first, second = listed(loader) + listed(loader)
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second
    again = DataLoader(range(30), 30, shuffle=True, generator=dtorch.Generator().manual_seed(1))
    assert listed(again) == [first]


def test_own_samplers_and_collate():
    assert listed(DataLoader(range(5), 2, sampler=[4, 2, 0])) == [[4, 2], [0]]
    pairs = BatchSampler([3, 1, 2], 2, drop_last=False)
    loader = DataLoader(range(5), batch_sampler=pairs, collate_fn=lambda batch: batch)
    assert list(loader) == [[3, 1], [2]]
    assert len(loader) == 2
    assert loader.batch_size is None


def test_getitems_fetches_a_batch_at_once():
    class Batched(Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, indices):
            return [10 * sum(indices)] * len(indices)

    assert listed(DataLoader(Batched(), batch_size=2)) == [[10, 10], [50, 50]]


def test_an_error_in_the_dataset_comes_through_as_it_is():
    class Broken(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise StopIteration("mine")  # must not be taken for the end of the data

    with pytest.raises(RuntimeError, match="StopIteration"):  # PEP 479
        list(DataLoader(Broken(), batch_size=None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_workers": -1}, "non-negative"),
        ({"timeout": -1}, "non-negative"),
        ({"timeout": 1}, "needs num_workers > 0"),
        ({"prefetch_factor": 2}, "num_workers be > 0"),
        ({"prefetch_factor": 0, "num_workers": 1}, "positive"),
        ({"persistent_workers": True}, "needs num_workers > 0"),
        ({"multiprocessing_context": "fork"}, "num_workers=0"),
        ({"multiprocessing_context": "thread", "num_workers": 1}, "valid start method"),
        ({"sampler": [0], "shuffle": True}, "mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "mutually exclusive with batch_size"),
        ({"batch_sampler": [[0]], "drop_last": True}, "mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "mutually exclusive with drop_last"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(range(4), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}]
)
def test_a_stream_has_its_own_order(arguments):
    with pytest.raises(ValueError, match="IterableDataset: expected unspecified"):
        DataLoader(Stream(3), **arguments)


def test_what_was_built_in_stays():
    loader = DataLoader(range(4), batch_size=2)
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    loader.timeout = 0  # others may be changed
    assert listed(loader) == [[0, 1], [2, 3]]


def test_pin_memory_says_that_it_has_no_effect():
    with pytest.warns(UserWarning, match="pin_memory=True has no effect yet"):
        assert listed(DataLoader(range(2), pin_memory=True)) == [[0], [1]]
