"""Storages, other people's memory, and copies and pickles of tensors."""

import array
import copy
import pickle

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn
from dtorch.core.tensor import as_subclass

KINDS = ["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool",
         "ComplexFloat", "ComplexDouble"]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")


# ---- storages --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_typed_storages(kind):
    ours, theirs = (getattr(m, f"{kind}Storage")([0, 1, 1]) for m in (dtorch, torch))
    assert str(ours.dtype) == f"d{theirs.dtype}"
    assert (len(ours), ours.nbytes(), ours.element_size()) == (
        len(theirs), theirs.nbytes(), theirs.element_size(),
    )  # fmt: skip
    assert list(ours) == list(theirs) == ours.tolist()
    assert ours.type() == f"d{theirs.type()}"
    assert repr(ours).replace("dtorch", "torch") == repr(theirs)
    assert ours.pickle_storage_type() == theirs.pickle_storage_type()
    assert len(getattr(dtorch, f"{kind}Storage")(4)) == 4
    assert len(getattr(dtorch, f"{kind}Storage")()) == 0


@pytest.mark.parametrize(
    "name", ["double", "half", "long", "byte", "bool", "complex_float", "bfloat16"]
)
def test_casts(name):
    ours, theirs = (m.FloatStorage([0.0, 1.0, 2.5]) for m in (dtorch, torch))
    got, want = getattr(ours, name)(), getattr(theirs, name)()
    assert str(got.dtype) == f"d{want.dtype}"
    assert got.tolist() == want.tolist()
    got, want = (getattr(s.untyped(), name)() for s in (ours, theirs))
    assert got.tolist() == want.tolist()


def test_untyped_storages():
    for m in (dtorch, torch):
        s = m.UntypedStorage([1, 2, 3, 4])
        assert (len(s), s.size(), s.nbytes(), s.element_size(), s[1], s[-1]) == (4, 4, 4, 1, 2, 4)
        part = s[1:3]
        part[0] = 9
        assert s.tolist() == [1, 9, 3, 4]
        s[2:] = 7
        assert s.fill_(5).clone().tolist() == [5, 5, 5, 5]
        s.copy_(m.UntypedStorage([1, 2, 3, 4]))
        s.byteswap(m.int16)
        assert s.tolist() == [2, 1, 4, 3]
        assert m.UntypedStorage(3).nbytes() == 3
        assert m.UntypedStorage().nbytes() == 0
        assert s.cpu().data_ptr() == s.data_ptr()
        assert s.new().nbytes() == 0
        assert (s.device, s.is_cuda, s.get_device()) == (m.device("cpu"), False, None)
        with pytest.raises(IndexError):
            s[4]
        with pytest.raises(RuntimeError, match="step"):
            s[::2]
        with pytest.raises(RuntimeError, match="slices are only supported in UntypedStorage"):
            m.FloatStorage(2)[:1]
        assert copy.copy(s).tolist() == copy.deepcopy(s).tolist() == s.tolist()
        big = m.FloatStorage.from_buffer(b"\x3f\x80\0\0", byte_order="big")
        assert big.tolist() == [1.0]


def test_typed_storage_takes_a_dtype_or_a_storage():
    for m in (dtorch, torch):
        s = m.storage.TypedStorage([1, 2], dtype=m.int16)
        assert (s.dtype, s.nbytes()) == (m.int16, 4)
        shown = m.storage.TypedStorage(wrap_storage=s.untyped(), dtype=m.uint8)
        assert shown.tolist() == [1, 0, 2, 0]
        assert isinstance(s, m.ShortStorage)
    with pytest.raises(RuntimeError, match="FloatStorage is of dtorch.float32"):
        dtorch.FloatStorage(2, dtype=dtorch.int8)
    with pytest.raises(TypeError, match="expected an UntypedStorage, got list"):
        dtorch.FloatStorage(wrap_storage=[])


def test_data_and_detach_are_in_the_same_storage():
    t = dtorch.arange(12.0).reshape(3, 4)
    for row in (t[1], t[1].data, t.data[1], t.data[1].data, t[1].detach()):
        assert (row.storage_offset(), row.untyped_storage().nbytes()) == (4, 48)
        assert row.untyped_storage().data_ptr() == t.data_ptr()


def test_copies_between_storages_are_of_bytes():
    for m in (dtorch, torch):
        assert m.FloatStorage(1).copy_(m.ByteStorage([0, 0, 128, 63])).tolist() == [1.0]
        with pytest.raises(RuntimeError, match="self was 8 bytes but src was 12 bytes"):
            m.FloatStorage(2).copy_(m.FloatStorage(3))
    cast = dtorch.FloatStorage([1.5]).type(dtorch.IntStorage)
    assert (cast.type(), cast.tolist()) == ("dtorch.IntStorage", [1])
    assert dtorch.FloatStorage([1.5]).type("dtorch.IntStorage").tolist() == [1]


@pytest.mark.parametrize("wrong", [("x",), (2, 3), (None,), (1.5,)])
def test_storages_are_made_of_a_size_or_values(wrong):
    for kind in (dtorch.FloatStorage, dtorch.UntypedStorage):
        with pytest.raises(TypeError, match="expected nothing, a size or a sequence"):
            kind(*wrong)
        with pytest.raises(RuntimeError, match="not negative"):
            kind(-1)


def test_a_tensor_and_its_storage_are_the_same_memory():
    t = dtorch.arange(6.0).reshape(2, 3)
    for s in (t[1].storage(), t.T.storage()):
        assert s.data_ptr() == t.data_ptr() == t.untyped_storage().data_ptr()
        assert s.tolist() == [0, 1, 2, 3, 4, 5]
    t.storage()[4] = 9
    assert t[1, 1] == 9
    version = t._version
    t.untyped_storage().fill_(0)
    assert t.sum() == 0
    assert t._version > version
    assert dtorch.is_storage(t.storage())
    assert dtorch.is_storage(t.untyped_storage())
    again = dtorch.empty(0).set_(t.storage(), 1, (2, 2), (3, 1))
    assert (again.shape, again.stride(), again.storage_offset()) == ((2, 2), (3, 1), 1)
    again.fill_(1)
    assert t.tolist() == [[0, 1, 1], [0, 1, 1]]
    assert dtorch.empty(0, dtype=dtorch.int32).set_(t.untyped_storage()).shape == (6,)
    with pytest.raises(RuntimeError, match="out of bounds for storage of size 6"):
        dtorch.empty(0).set_(t.storage(), 1, (6,))
    for place in ((-1, (2,)), (0, (2,), (-1,)), (0, (2, 2), (1,))):
        with pytest.raises(RuntimeError, match="none negative"):
            dtorch.empty(0).set_(t.storage(), *place)
    with pytest.raises(RuntimeError, match="expected a storage of dtorch.float32"):
        dtorch.empty(0).set_(dtorch.IntStorage(2))
    with pytest.raises(NotImplementedError, match="has no storage"):
        dtorch.ones(2).to_sparse().storage()
    with pytest.raises(TypeError, match="must be Tensor or Storage, not list"):
        dtorch.empty(0).set_([1])


def test_resizing_takes_the_tensor_and_its_views_along():
    t = dtorch.arange(4.0)
    view = t[1:3]
    s = t.untyped_storage()
    s.resize_(32)
    assert (s.nbytes(), t.tolist(), view.tolist()) == (32, [0, 1, 2, 3], [1, 2])
    view.fill_(9)
    assert t.tolist() == [0, 9, 9, 3]
    assert s.data_ptr() == t.data_ptr()
    before = t._a
    with pytest.raises(RuntimeError, match="require 4 elements"):
        s.resize_(0)
    assert t._a is before
    alone = dtorch.FloatStorage([1.0, 2.0])
    assert alone.resize_(3).tolist() == [1, 2, 0]
    assert alone.resize_(1).tolist() == [1]
    with pytest.raises(RuntimeError, match="negative"):
        alone.resize_(-1)


# ---- memory of others ------------------------------------------------------------------------


@pytest.mark.parametrize("m", [dtorch, torch])
def test_frombuffer(m):
    buffer = array.array("i", [1, 2, 3, 4])
    t = m.frombuffer(buffer, dtype=m.int32)
    t[0] = 9
    assert buffer[0] == 9
    assert m.frombuffer(buffer, dtype=m.int32, count=2, offset=4).tolist() == [2, 3]
    assert m.frombuffer(bytearray(4), dtype=m.float32, requires_grad=True).requires_grad
    for wrong in ({"offset": 16}, {"offset": -1}, {"count": 5}, {"count": 0}, {"offset": 1}):
        with pytest.raises(ValueError, match="buffer length|offset|count"):
            m.frombuffer(buffer, dtype=m.int32, **wrong)
    with pytest.raises(ValueError, match="both buffer length"):
        m.frombuffer(b"", dtype=m.int32)
    with pytest.raises(ValueError, match="buffer protocol"):
        m.frombuffer(3, dtype=m.int32)


@pytest.mark.parametrize("m", [dtorch, torch])
def test_from_file(m, tmp_path):
    path = str(tmp_path / "numbers")
    np.arange(4, dtype="float32").tofile(path)
    private = m.from_file(path, size=3, dtype=m.float32)
    private.fill_(7)
    assert m.from_file(path, size=4).tolist() == [0, 1, 2, 3]
    shared = m.from_file(path, shared=True, size=6, dtype=m.float32)  # the file grows
    shared[5] = 8
    assert np.fromfile(path, "float32").tolist() == [0, 1, 2, 3, 0, 8]
    assert shared.is_shared()
    with pytest.raises(RuntimeError):
        m.from_file(path, size=7)
    assert m.UntypedStorage.from_file(path, False, 24)[20:24].tolist() == [0, 0, 0, 65]
    assert m.FloatStorage.from_file(path, False, 2).tolist() == [0, 1]
    new = m.from_file(str(tmp_path / "new"), shared=True, size=2, dtype=m.int64)
    assert new.tolist() == [0, 0]


# ---- copies and pickles ----------------------------------------------------------------------


class Tagged(dtorch.Tensor):
    pass


@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_copies_keep_strides_classes_and_sharing(again):
    base = dtorch.arange(12.0).reshape(3, 4)
    tagged = as_subclass(base[2], Tagged)
    tagged.note = ["x"]
    leaf = dtorch.ones(2, requires_grad=True)
    obj = {"base": base, "row": base[1], "turned": base.T, "wide": base[0].expand(2, 4),
           "parameter": nn.Parameter(base), "buffer": nn.Buffer(base, persistent=False),
           "tagged": tagged, "leaf": leaf, "same": leaf, "empty": dtorch.zeros(0, 3),
           "half": base.to(dtorch.bfloat16)}  # fmt: skip
    got = again(obj)
    for name, t in obj.items():
        x = got[name]
        assert (type(x), x.stride(), x.storage_offset()) == (
            type(t),
            t.stride(),
            t.storage_offset(),
        )
        assert (x.tolist(), x.requires_grad, x.dtype) == (t.tolist(), t.requires_grad, t.dtype)
        assert x.data_ptr() != t.data_ptr() or not t.numel()
    assert got["tagged"].note == ["x"]
    assert got["buffer"].persistent is False
    assert got["same"] is got["leaf"]
    got["base"].fill_(7)
    for name in ("row", "turned", "wide", "parameter", "buffer", "tagged"):
        assert (got[name].detach() == 7).all()


def test_deepcopy_keeps_gradients_but_of_parameters_and_refuses_results():
    for lib in (torch, dtorch):
        p = lib.ones(2, requires_grad=True)
        p.sum().backward()
        got = copy.deepcopy(p)
        assert got.grad.tolist() == [1, 1]
        assert got.grad is not p.grad
        p = lib.nn.Parameter(p.detach())
        p.sum().backward()
        got = copy.deepcopy(p)
        assert type(got) is lib.nn.Parameter
        assert got.grad is None
        assert p.grad is not None
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(p * 2)
    assert pickle.loads(pickle.dumps(p * 2)).is_leaf  # as in torch


def test_views_from_workers_bring_only_what_they_show():
    data = dtorch.utils.data
    whole = dtorch.arange(10_000.0).reshape(100, 100)
    rows = list(data.DataLoader(data.TensorDataset(whole), batch_size=None, num_workers=1))
    assert len(rows) == 100
    assert rows[3][0].tolist() == whole[3].tolist()
    assert rows[3][0].untyped_storage().nbytes() == 400


def test_layouts_and_memory_formats_are_themselves_after_pickle():
    for x in (dtorch.strided, dtorch.channels_last, dtorch.float16, dtorch.device("cuda:1")):
        again = pickle.loads(pickle.dumps(x))
        assert again == x
        assert again is x or isinstance(x, dtorch.device)
