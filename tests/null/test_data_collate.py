"""default_collate and default_convert, against torch's."""

import collections
from types import MappingProxyType

import numpy as np
import pytest
import torch

import dtorch
from dtorch.utils.data import default_collate, default_convert

Point = collections.namedtuple("Point", "x y")


def plain(value):
    """A batch with its tensors (dtorch's or torch's) as (dtype, nested lists)."""
    if isinstance(value, (dtorch.Tensor, torch.Tensor)):
        return str(value.dtype).split(".")[1], value.tolist()
    if isinstance(value, collections.abc.Mapping):
        return type(value), {k: plain(v) for k, v in value.items()}
    if isinstance(value, collections.abc.Sequence) and not isinstance(value, (str, bytes)):
        return type(value), [plain(v) for v in value]
    return value


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2, 3],
        [1.5, 2],
        [True, False],
        [np.float32(1), np.float32(2)],
        [np.int16(1), np.int16(2)],
        [np.arange(3), np.arange(3)],
        [np.array(1.0), np.array(2.0)],
        [np.ones((2, 2), np.float32)] * 2,
        ["a", "b"],
        [b"a", b"b"],
        [(1, "a"), (2, "b")],
        [[1, 2.5], [3, 4.5]],
        [{"x": 1, "y": [2, 3]}, {"x": 4, "y": [5, 6]}],
        [Point(1, 2.5), Point(3, 4.5)],
        [collections.OrderedDict(b=1, a=2), collections.OrderedDict(b=3, a=4)],
        [collections.defaultdict(list, x=1), collections.defaultdict(list, x=2)],
        [MappingProxyType({"x": 1}), MappingProxyType({"x": 2})],
        [range(2), range(2)],
        [collections.UserList([1, 2]), collections.UserList([3, 4])],
        [((np.ones(2), {"k": (1, 2.0)}), "s")] * 2,
    ],
    ids=repr,
)
def test_collate_is_torchs(batch):
    ours, theirs = default_collate(batch), torch.utils.data.default_collate(batch)
    assert plain(ours) == plain(theirs)
    assert type(ours) is type(theirs) or isinstance(ours, dtorch.Tensor)


def test_collate_stacks_tensors():
    x = dtorch.arange(6, dtype=dtorch.float32).reshape(2, 3)
    batch = default_collate([(x, 0), (x + 1, 1)])
    assert tuple(batch[0].shape) == (2, 2, 3)
    assert batch[0].tolist() == [x.tolist(), (x + 1).tolist()]
    assert batch[1].dtype is dtorch.int64


def test_collate_leaves_the_samples_alone():
    sample = collections.defaultdict(list, x=1)
    default_collate([sample, sample])
    assert sample == {"x": 1}


def test_collate_says_what_is_wrong():
    with pytest.raises(RuntimeError, match=r"equal size; got lengths \[1, 2\]"):
        default_collate([[1], [1, 2]])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([dtorch.arange(2), dtorch.arange(3)])
    with pytest.raises(TypeError, match="found <class 'object'>.*collate_fn"):
        default_collate([object()])
    with pytest.raises(TypeError, match="dtype <U1"):
        default_collate([np.array(["a"])])


@pytest.mark.parametrize(
    "data",
    [
        np.arange(3),
        np.float32(2),
        3,
        "text",
        (np.ones(1), "a"),
        [np.ones(1), 2],
        {"x": np.zeros(2)},
        Point(np.ones(1), 2),
        np.array(["a"]),
    ],
    ids=repr,
)
def test_convert_is_torchs(data):
    ours = default_convert(data)
    theirs = torch.utils.data.default_convert(data)
    assert plain(ours) == plain(theirs)


def test_convert_shares_an_arrays_memory():
    array = np.zeros(3)
    default_convert(array)[0] = 5
    assert array[0] == 5
