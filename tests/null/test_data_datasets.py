"""Datasets: what they hold, how they combine, how they split."""

import pytest
import torch

import dtorch
from dtorch.utils.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)


class Numbers(Dataset):
    def __init__(self, *values):
        self.values = values

    def __getitem__(self, index):
        return self.values[index]

    def __len__(self):
        return len(self.values)


class Stream(IterableDataset):
    def __init__(self, *values):
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)


def test_tensor_dataset_gives_rows():
    x = dtorch.arange(12).reshape(4, 3)
    y = dtorch.arange(4)
    dataset = TensorDataset(x, y)
    assert len(dataset) == 4
    row, label = dataset[2]
    assert row.tolist() == [6, 7, 8]
    assert label.item() == 2


def test_tensor_dataset_wants_equal_lengths():
    with pytest.raises(ValueError, match=r"first dimensions must be equal.*\(3,\), \(4,\)"):
        TensorDataset(dtorch.arange(3), dtorch.arange(4))


def test_concat_looks_up_across_borders():
    joined = ConcatDataset([Numbers(1, 2), Numbers(), Numbers(3)])
    assert [joined[i] for i in range(len(joined))] == [1, 2, 3]
    assert joined[-1] == 3
    assert joined[-3] == 1
    assert joined.cumulative_sizes == [2, 2, 3]
    for outside in (3, -4):
        with pytest.raises(IndexError, match="out of range"):
            joined[outside]


def test_plus_concatenates():
    joined = Numbers(1, 2) + Numbers(3)
    assert isinstance(joined, ConcatDataset)
    assert len(joined) == 3


def test_concat_refuses_streams_and_nothing():
    with pytest.raises(TypeError, match="ChainDataset"):
        ConcatDataset([Stream(1)])
    with pytest.raises(ValueError, match="empty"):
        ConcatDataset([])


def test_chain_is_one_stream():
    chain = Stream(1, 2) + Stream(3)
    assert isinstance(chain, ChainDataset)
    assert list(chain) == [1, 2, 3]
    assert len(chain) == 3
    with pytest.raises(TypeError, match="IterableDataset, got Numbers"):
        list(ChainDataset([Numbers(1)]))


def test_stack_by_position_and_by_name():
    assert StackDataset(Numbers(1, 2), Numbers(3, 4))[1] == (2, 4)
    named = StackDataset(image=Numbers(1, 2), text=Numbers("a", "b"))
    assert named[0] == {"image": 1, "text": "a"}
    assert len(named) == 2
    with pytest.raises(ValueError, match=r"lengths are \[1, 2\]"):
        StackDataset(Numbers(1), Numbers(1, 2))
    with pytest.raises(ValueError, match="either"):
        StackDataset()


def test_stack_fetches_batches_through_its_members():
    class Batched(Numbers):
        def __getitems__(self, indices):
            return [("together", self.values[i]) for i in indices]

    members = Batched(1, 2, 3), Numbers(4, 5, 6)
    assert StackDataset(*members).__getitems__([2, 0]) == [
        (("together", 3), 6),
        (("together", 1), 4),
    ]
    assert StackDataset(a=members[0], b=members[1]).__getitems__([1]) == [
        {"a": ("together", 2), "b": 5}
    ]


def test_subset_fetches_batches_through_the_dataset():
    class Batched(Numbers):
        def __getitems__(self, indices):
            return [("batched", self.values[i]) for i in indices]

    assert Subset(Numbers(5, 6, 7), [2, 0])[1] == 5
    assert Subset(Batched(5, 6, 7), [2, 0]).__getitems__([0, 1]) == [("batched", 7), ("batched", 5)]


@pytest.mark.parametrize(
    "lengths", [[3, 7], [0.3, 0.7], [0.5, 0.25, 0.25], [1.0], [10], [0.55, 0.45]]
)
def test_random_split_is_a_partition_of_torchs_sizes(lengths):
    parts = random_split(range(10), lengths, generator=dtorch.Generator().manual_seed(1))
    assert [len(p) for p in parts] == [
        len(p) for p in torch.utils.data.random_split(range(10), lengths)
    ]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))
    again = random_split(range(10), lengths, generator=dtorch.Generator().manual_seed(1))
    assert [p.indices for p in parts] == [p.indices for p in again]


def test_random_split_refuses_what_does_not_add_up():
    with pytest.raises(ValueError, match="sum to 9, the dataset has 10"):
        random_split(range(10), [4, 5])
    with pytest.raises(ValueError, match="index 0 is not between 0 and 1"):
        random_split(range(10), [1.5, -0.5])


def test_a_dataset_without_getitem_says_so():
    class Empty(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define __getitem__"):
        Empty()[0]
