"""save and load: torch reads what is written here, and the reverse; damage is found."""

import contextlib
import copy
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn

DTYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
          "complex64", "complex128", "bool", "uint16", "uint32", "uint64"]  # fmt: skip


def written(obj, library=dtorch, **options):
    file = io.BytesIO()
    library.save(obj, file, **options)
    file.seek(0)
    return file


def through(obj, **options):
    return dtorch.load(written(obj), **options)


def to_torch(obj):
    return torch.load(written(obj), weights_only=True)


def from_torch(obj, **options):
    return dtorch.load(written(obj, torch), **options)


# ---- both ways ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_every_dtype_and_shape(name, shape):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    t = torch.from_numpy(values).to(getattr(torch, name))
    ours = from_torch(t)
    assert ours.dtype is getattr(dtorch, name)
    assert (tuple(ours.shape), ours.stride(), ours.tolist()) == (
        values.shape,
        t.stride(),
        t.tolist(),
    )
    theirs = to_torch(ours)
    assert theirs.dtype is t.dtype
    assert torch.equal(theirs, t)
    assert theirs.stride() == t.stride()


def plain(library):
    return {
        "a": [1, -1, 300, 2**40, 2**80, 1.5, float("inf"), True, None, "é\n", "x" * 300],
        "b": (b"", b"\0\xff" * 200, bytearray(b"x"), 1 + 2j, {1, 2}, (), (1,), (1, 2, 3, 4)),
        3: (library.float16, library.bool, library.Size([2, 3]), library.strided),
        None: OrderedDict([("z", 1), ("a", {"": [{}]})]),
        "device": [library.device("cpu"), library.device("cuda:1")],
        "count": Counter("abca"),
    }


def test_plain_data_comes_back_with_its_types():
    here, there = plain(dtorch), plain(torch)
    for got, want in [
        (through(here), here), (from_torch(there), here), (to_torch(here), there)
    ]:  # fmt: skip
        assert got == want
        assert list(got) == list(want)
        for key in ("a", "b", 3):
            assert [type(x) for x in got[key]] == [type(x) for x in want[key]]
        assert type(got[None]) is OrderedDict
        assert type(got["count"]) is Counter


def views(library):
    base = library.arange(24.0).reshape(2, 3, 4)
    return {"base": base, "row": base[1], "step": base[:, ::2, 1:], "turned": base.permute(2, 0, 1),
            "wide": base[0, 0].expand(3, 4)}  # fmt: skip


@pytest.mark.parametrize("turn", ["through", "from_torch", "to_torch"])
def test_views_share_memory_again(turn):
    obj = views(torch if turn == "from_torch" else dtorch)
    got = {"through": through, "from_torch": from_torch, "to_torch": to_torch}[turn](obj)
    for k, v in obj.items():
        assert got[k].tolist() == v.tolist()
        assert (got[k].stride(), got[k].storage_offset()) == (v.stride(), v.storage_offset())
    got["base"].fill_(7.0)
    assert all((got[k] == 7).all() for k in obj)


def test_a_view_brings_its_whole_memory_once():
    big = dtorch.zeros(1000, dtype=dtorch.float64)
    assert 8000 < len(written(big[:2]).getvalue()) < 10000
    assert 8000 < len(written([big, big.view(10, 100), big[500:]]).getvalue()) < 10000
    assert through(big[10:12]).untyped_storage().nbytes() == 8000


def test_memory_with_holes_is_copied():
    a = np.arange(12.0).reshape(3, 4)
    obj = [dtorch.from_numpy(a[::2]), dtorch.from_numpy(np.asfortranarray(a))]
    for got in (through(obj), to_torch(obj)):
        assert [t.tolist() for t in got] == [t.tolist() for t in obj]


def test_one_memory_of_two_dtypes_is_refused_as_in_torch():
    t = dtorch.ones(2)
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        dtorch.save([t, t.view(dtorch.int32)], io.BytesIO())


def test_parameters_buffers_attributes_and_identity():
    p = nn.Parameter(dtorch.ones(2), requires_grad=False)
    tagged = nn.Parameter(dtorch.ones(2))
    tagged.tag = "x"
    b = nn.Buffer(dtorch.zeros(1), persistent=False)
    t = dtorch.ones(1, requires_grad=True)
    t.note = [1]
    obj = [p, p, tagged, b, t]
    for got, library in ((through(obj), dtorch), (to_torch(obj), torch)):
        assert type(got[0]) is library.nn.Parameter
        assert got[0] is got[1]
        assert not got[0].requires_grad
        assert got[2].tag == "x"
        assert got[2].requires_grad
        assert isinstance(got[3], library.nn.Buffer)
        assert got[3].persistent is False
        assert got[4].requires_grad
        assert got[4].note == [1]
    theirs = torch.nn.Buffer(torch.ones(1), persistent=False)
    got = from_torch(
        [theirs, torch.nn.Parameter(torch.ones(2)), torch.ones(2, requires_grad=True) * 2]
    )
    assert type(got[0]) is nn.Buffer
    assert type(got[1]) is nn.Parameter
    assert got[2].requires_grad
    assert got[2].is_leaf


def test_lazy_conjugates_are_computed():
    t = torch.tensor([1 + 2j, 3 - 1j])
    assert from_torch([t.conj(), t])[0].tolist() == [1 - 2j, 3 + 1j]
    assert from_torch(t.conj().imag).tolist() == [-2, 1]


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors(layout):
    def make(library):
        t = library.tensor([[0.0, 1.0, 0.0, 2.0], [0.0, 0.0, 3.0, 0.0]])
        options = {"blocksize": (1, 2)} if layout[0] == "b" else {}
        return t.to_sparse(layout=getattr(library, f"sparse_{layout}"), **options)

    ours, theirs = make(dtorch), make(torch)
    for got in (
        from_torch(theirs),
        through(ours),
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert got.layout is ours.layout
        assert got.values().tolist() == ours.values().tolist()
        assert got.to_dense().tolist() == ours.to_dense().tolist()
    assert to_torch(ours).layout is theirs.layout
    assert torch.equal(to_torch(ours).to_dense(), theirs.to_dense())
    loose = dtorch.sparse_coo_tensor([[1, 1, 0]], [1.0, 2.0, 3.0], (2,))
    assert not through(loose).is_coalesced()
    assert through(loose.coalesce()).is_coalesced()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(protocol):
    obj = {"a": dtorch.ones(2), "b": [b"", b"x", {1}, dtorch.int8, dtorch.Size([2])]}
    got = dtorch.load(written(obj, pickle_protocol=protocol))
    assert got["a"].tolist() == [1, 1]
    assert got["b"] == obj["b"]


def test_sparse_indices_of_files_are_checked():
    t = dtorch.sparse_coo_tensor([[1, 0]], [1.0, 2.0], (2,))
    with pytest.raises(RuntimeError, match="size is inconsistent with indices"):
        dtorch.load(forged(t, lambda data: data.replace(b"K\x02\x85q\x1a", b"K\x01\x85q\x1a")))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_storages_and_old_constructors():
    t = torch.arange(3.0)
    assert from_torch(t.storage()).tolist() == [0, 1, 2]
    assert from_torch(t.untyped_storage()).nbytes() == 12
    typed = dtorch.FloatStorage([1.0, 2.0])
    assert list(to_torch([typed])[0]) == [1, 2]


def models(library):
    model = library.nn.Sequential(
        library.nn.Conv2d(1, 2, 3), library.nn.BatchNorm2d(2), library.nn.ReLU(),
        library.nn.Flatten(), library.nn.Linear(8, 3), library.nn.Dropout(), library.nn.LogSoftmax(1),
    )  # fmt: skip
    optimizer = library.optim.Adam(model.parameters(), lr=0.01)
    scheduler = library.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    model(library.ones(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    scheduler.step()
    return model, optimizer, scheduler


@pytest.mark.parametrize(("source", "target"), [(torch, dtorch), (dtorch, torch), (dtorch, dtorch)])
def test_checkpoints(source, target):
    saved = models(source)
    file = written([x.state_dict() for x in saved], source)
    states = target.load(file)
    assert states[0]._metadata == saved[0].state_dict()._metadata
    resumed = models(target)
    for x, state in zip(resumed, states):
        x.load_state_dict(state)
    x = np.linspace(0, 1, 32, dtype="float32").reshape(2, 1, 4, 4)
    for _ in range(2):
        outputs = []
        for library, (model, optimizer, scheduler) in ((source, saved), (target, resumed)):
            model.eval()
            optimizer.zero_grad()
            y = model(library.from_numpy(x))
            y.pow(2).sum().backward()
            optimizer.step()
            scheduler.step()
            outputs.append(y.tolist())
        np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_whole_modules_of_torch():
    model = models(torch)[0].eval()
    x = torch.rand(2, 1, 4, 4)
    with pytest.raises(pickle.UnpicklingError, match="torch.nn.modules.container.Sequential"):
        from_torch(model)
    ours = from_torch(model, weights_only=False)
    assert type(ours[1]) is nn.BatchNorm2d
    got = ours(dtorch.from_numpy(x.numpy()))
    np.testing.assert_allclose(got.tolist(), model(x).tolist(), rtol=1e-5, atol=1e-6)
    again = through(ours, weights_only=False)
    assert again(dtorch.from_numpy(x.numpy())).tolist() == got.tolist()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda n: n.LSTM(3, 4, batch_first=True), (2, 5, 3)),
        (lambda n: n.TransformerEncoderLayer(4, 2, 8, activation="gelu"), (2, 5, 4)),
        (lambda n: n.MultiheadAttention(4, 2), None),
        (lambda n: n.Embedding(5, 3, padding_idx=0), None),
        (lambda n: n.ConvTranspose2d(1, 2, 3, padding_mode="zeros"), (1, 1, 4, 4)),
        (lambda n: n.GroupNorm(2, 4), (1, 4, 3)),
    ],
)
def test_more_modules_of_torch(make, shape):
    model = make(torch.nn).eval()
    ours = from_torch(model, weights_only=False)
    assert type(ours) is getattr(nn, type(model).__name__)
    assert repr(ours) == repr(model)
    if shape is not None:
        x = torch.rand(shape)
        want, got = model(x), ours(dtorch.from_numpy(x.numpy()))
        if isinstance(want, tuple):
            want, got = want[0], got[0]
        np.testing.assert_allclose(got.tolist(), want.tolist(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("obj", [{"a": torch.arange(6.0).reshape(2, 3)[:, 1:], "b": [1, "x"]}, 3])
def test_files_of_old_torch(obj):
    got = dtorch.load(written(obj, torch, _use_new_zipfile_serialization=False))
    if obj == 3:
        assert got == 3
    else:
        assert got["a"].tolist() == obj["a"].tolist()
        assert (got["a"].stride(), got["b"]) == ((3, 1), [1, "x"])
    cut = written(torch.ones(50), torch, _use_new_zipfile_serialization=False).getvalue()[:-10]
    with pytest.raises(
        RuntimeError, match="truncated: storage .* should have 200 bytes, found 190"
    ):
        dtorch.load(io.BytesIO(cut))


def test_loading_needs_no_torch(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(models(torch)[0], path)
    code = (
        "import sys; sys.modules['torch'] = None\nimport dtorch\n"
        f"model = dtorch.load({str(path)!r}, weights_only=False)\n"
        f"dtorch.save(model.state_dict(), {str(path)!r})\n"
        f"print(len(dtorch.load({str(path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("9\n", "")


def test_the_layout_of_a_file():
    file = written({"a": dtorch.ones(3), "b": dtorch.zeros(2, dtype=dtorch.bfloat16)})
    reader = torch._C.PyTorchFileReader(file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/version") == b"3\n"
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            begin = reader.get_record_offset(info.filename.partition("/")[2])
            assert begin % 64 == 0


# ---- files --------------------------------------------------------------------------------------


def test_paths_handles_and_folders(tmp_path):
    path = tmp_path / "model.pt"
    for place in (path, str(path), bytes(path)):
        dtorch.save([1], place)
        assert dtorch.load(place) == [1]
    with open(path, "wb") as file:
        dtorch.save([2], file)
    with open(path, "rb") as file:
        assert dtorch.load(file) == [2]
    assert torch.load(path) == [2]
    with open(path) as file, pytest.raises((TypeError, UnicodeDecodeError)):
        dtorch.load(file)
    read, write = os.pipe()
    os.close(write)
    with open(read, "rb") as file, pytest.raises(OSError, match="seekable"):
        dtorch.load(file)
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        dtorch.save(1, tmp_path / "no" / "model.pt")
    with pytest.raises(FileNotFoundError):
        dtorch.load(tmp_path / "none.pt")


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path):
    path = tmp_path / "model.pt"
    dtorch.save(1, path)
    before = path.read_bytes()

    class Full(Exception):
        pass

    class Bad:
        def __reduce__(self):
            raise Full

    with pytest.raises(Full):
        dtorch.save([dtorch.ones(3), Bad()], path)
    assert path.read_bytes() == before
    with pytest.raises((pickle.PicklingError, AttributeError)):
        dtorch.save(lambda: 0, path)
    assert os.listdir(tmp_path) == ["model.pt"]
    dtorch.save(2, path)
    assert dtorch.load(path) == 2
    assert os.listdir(tmp_path) == ["model.pt"]


def test_a_damaged_file_is_named_with_what_was_expected(tmp_path):
    path = tmp_path / "model.pt"
    dtorch.save(dtorch.from_numpy(np.full(1000, 3.0)), path)
    good = path.read_bytes()
    for size in (len(good) - 1, len(good) // 2, 400):
        path.write_bytes(good[:size])
        with pytest.raises(RuntimeError, match=rf"model.pt is truncated or damaged.*found {size}"):
            dtorch.load(path)
    at = good.index(np.float64(3.0).tobytes() * 2)
    path.write_bytes(good[: at + 100] + b"\x01" + good[at + 101 :])
    with pytest.raises(RuntimeError, match=r"model.pt is damaged: data/0 should be 8000 bytes"):
        dtorch.load(path)
    for content in (b"hello", b""):
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match="model.pt is no file of save"):
            dtorch.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(RuntimeError, match="some other zip archive"):
        dtorch.load(path)


def test_damage_gives_no_other_errors():
    source = dtorch.arange(12.0).reshape(3, 4)
    obj = {"a": source, "b": source.T, "c": [1, "x", b"y"], "d": source.to_sparse()}
    good = written(obj).getvalue()
    old = written({"a": torch.ones(3)}, torch, _use_new_zipfile_serialization=False).getvalue()
    generator = np.random.default_rng(0)
    for content in [good, old] * 150:
        changed = bytearray(content)
        for at in generator.integers(len(changed), size=2):
            changed[at] = generator.integers(256)
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError, MemoryError):
            dtorch.load(io.BytesIO(changed))


def forged(obj, change):
    """A file of an object, with data.pkl changed."""
    result = io.BytesIO()
    with zipfile.ZipFile(written(obj)) as archive, zipfile.ZipFile(result, "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            copy.writestr(name, change(data) if name.endswith("data.pkl") else data)
    result.seek(0)
    return result


def test_what_dtorch_does_not_have_is_named():
    old, new = b"torch.nn.modules.container\nSequential\n", b"torch.nn.modules.container\nNone\n"
    file = forged(nn.Sequential(), lambda data: data.replace(old, new))
    with pytest.raises(
        AttributeError, match="torch.nn.modules.container.None, which dtorch does not"
    ):
        dtorch.load(file, weights_only=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x00K\x04", b"K\x01K\x04"),  # the offset
        (b"\x85q\x06K\x01", b"\x85q\x06K\x09"),  # the stride
        (b"\x85q\x06K\x01", b"\x85q\x06J\xff\xff\xff\xff"),
    ],
)
def test_a_view_outside_its_memory_is_refused(old, new):
    def change(data):
        assert old in data
        return data.replace(old, new)

    with pytest.raises(RuntimeError, match="setStorage: sizes"):
        dtorch.load(forged(dtorch.ones(4), change))


def test_a_storage_of_another_size_than_its_record_is_refused():
    file = forged(dtorch.ones(4), lambda data: data.replace(b"cpuq\x04K\x04", b"cpuq\x04K\x05"))
    with pytest.raises(RuntimeError, match="data/0 should have 20 bytes, as data.pkl says"):
        dtorch.load(file)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [None, "cpu", dtorch.device("cpu"), {"cpu": "cpu"}, {"cuda:0": "cpu"}, lambda s, place: s,
     lambda s, place: None, lambda s, place: s.cpu()],
)  # fmt: skip
def test_map_location(where):
    assert through(dtorch.ones(2), map_location=where).tolist() == [1, 1]


def test_map_location_sees_each_storage_once():
    seen = []
    t = dtorch.ones(3)
    through([t, t[1:], dtorch.zeros(2)], map_location=lambda s, place: seen.append((len(s), place)))
    assert seen == [(12, "cpu"), (8, "cpu")]


@pytest.mark.skipif(dtorch.cuda.is_available(), reason="there is a CUDA device")
def test_map_location_to_a_missing_device():
    for where in ("cuda", {"cpu": "cuda:3"}):
        with pytest.raises(RuntimeError, match="map_location='cpu'"):
            through(dtorch.ones(2), map_location=where)
    moved = forged(
        dtorch.ones(2), lambda data: data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0")
    )
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
        dtorch.load(moved)
    moved.seek(0)
    assert dtorch.load(moved, map_location={"cuda:0": "cpu"}).tolist() == [1, 1]
    with pytest.raises(TypeError, match="map_location: expected None"):
        through(1, map_location=3)


@pytest.mark.parametrize("library", [torch, dtorch])
def test_mmap(tmp_path, library):
    path = tmp_path / "model.pt"
    t = library.arange(1000.0)
    library.save({"t": t, "v": t[10:], "e": library.zeros(0)}, path)
    got = dtorch.load(path, mmap=True)
    assert got["t"].tolist() == t.tolist()
    assert got["e"].shape == (0,)
    assert got["t"].untyped_storage().nbytes() == 4000
    got["t"].fill_(1)
    assert got["v"].sum() == 990  # shared in memory, and not with the file
    assert dtorch.load(path)["t"].tolist() == t.tolist()
    import mmap

    with dtorch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        assert dtorch.serialization.get_default_mmap_options() == mmap.MAP_SHARED
        dtorch.load(path, mmap=True)["t"].fill_(2)
    assert dtorch.load(path, mmap=True)["v"].sum() == 1980
    with pytest.raises(ValueError, match="f must be a file path"):
        dtorch.load(io.BytesIO(), mmap=True)
    torch.save(1, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="mmap can only be used with zip files"):
        dtorch.load(path, mmap=True)
    with pytest.raises(ValueError, match="set_default_mmap_options"):
        dtorch.serialization.set_default_mmap_options(77)


def test_byte_order():
    def turned(data):
        return data.astype(data.dtype.newbyteorder(">")).tobytes()

    a = np.arange(3, dtype="float32")
    c = np.array([1 + 2j], dtype="complex64")
    changed = {
        "archive/byteorder": b"big",
        "archive/data/0": turned(a),
        "archive/data/1": turned(c),
    }
    file = io.BytesIO()
    source = written([dtorch.from_numpy(a), dtorch.from_numpy(c)])
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(file, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, changed.get(name) or archive.read(name))
    file.seek(0)
    assert [t.tolist() for t in dtorch.load(file)] == [a.tolist(), c.tolist()]


def test_settings():
    s = dtorch.serialization
    assert s.get_default_load_endianness() is None
    s.set_default_load_endianness(s.LoadEndianness.LITTLE)
    assert s.get_default_load_endianness() is s.LoadEndianness.LITTLE
    s.set_default_load_endianness(None)
    assert s.get_crc32_options()
    with pytest.raises(NotImplementedError, match="checksums"):
        s.set_crc32_options(False)
    with s.skip_data():
        file = written(dtorch.ones(3))
    assert dtorch.load(file).tolist() == [0, 0, 0]
    assert s.check_module_version_greater_or_equal(np, (1, 0))
    assert not s.check_module_version_greater_or_equal(np, (99,))
    with pytest.raises(RuntimeError, match="malformed"):
        s.check_module_version_greater_or_equal(np, (1, 2, 3, 4, 5, 6))


def test_files_without_checksums_are_read():
    torch.serialization.set_crc32_options(False)
    try:
        assert from_torch(torch.ones(2)).tolist() == [1, 1]
    finally:
        torch.serialization.set_crc32_options(True)


def test_packages_for_places_of_ones_own():
    from dtorch.core.serialize import placement

    before = list(placement._packages)
    seen = []
    try:
        dtorch.serialization.register_package(
            5,
            lambda storage: "attic" if len(storage) == 12 else None,
            lambda storage, place: (seen.append(place), storage)[1] if place == "attic" else None,
        )
        assert through([dtorch.ones(3), dtorch.ones(2)])[0].tolist() == [1, 1, 1]
        assert seen == ["attic"]
    finally:
        placement._packages[:] = before
    with pytest.raises(RuntimeError, match="don't know how to restore data location"):
        dtorch.serialization.default_restore_location(dtorch.UntypedStorage(1), "attic")
