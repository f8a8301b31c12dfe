"""save and load: what goes in comes out, shared memory stays shared, damage is found."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn


def through(obj, **options):
    file = io.BytesIO()
    dtorch.save(obj, file)
    file.seek(0)
    return dtorch.load(file, **options)


class Unknown:
    pass


DTYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
          "complex64", "complex128", "bool"]  # fmt: skip


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_every_dtype_and_shape_comes_back(name, shape):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    t = dtorch.from_numpy(values).to(getattr(dtorch, name))
    got = through(t)
    assert got.dtype is t.dtype
    assert got.shape == t.shape
    assert got.tolist() == t.tolist()


def test_plain_data_comes_back_with_its_types():
    obj = {
        "a": [1, 2**80, 1.5, float("inf"), True, None, "é\n", b"\0\xff", 1 + 2j],
        3: (dtorch.float16, dtorch.device("cuda:1"), dtorch.Size([2, 3]), {1, 2}),
        None: OrderedDict([("z", 1), ("a", {"": []})]),
    }
    got = through(obj)
    assert got == obj
    assert [type(x) for x in got["a"]] == [type(x) for x in obj["a"]]
    assert type(got[None]) is OrderedDict
    assert list(got) == list(obj)
    assert type(got[3][2]) is dtorch.Size


def test_views_share_memory_again():
    base = dtorch.from_numpy(np.arange(24.0).reshape(2, 3, 4))
    obj = {"base": base, "row": base[1], "step": base[:, ::2, 1:], "turned": base.permute(2, 0, 1)}
    got = through(obj)
    for k, v in obj.items():
        assert got[k].tolist() == v.tolist()
        assert got[k].stride() == v.stride()
    got["base"].fill_(7.0)
    assert all((got[k] == 7).all() for k in obj)


def test_shared_memory_is_written_once():
    big = dtorch.zeros(1000, dtype=dtorch.float64)
    file = io.BytesIO()
    dtorch.save([big, big.view(10, 100), big[500:]], file)
    assert 8000 < len(file.getvalue()) < 10000


def test_memory_with_holes_or_backwards():
    a = np.arange(12.0).reshape(3, 4)
    obj = [dtorch.from_numpy(a[::-1]), dtorch.from_numpy(np.asfortranarray(a))]
    got = through(obj)
    assert [t.tolist() for t in got] == [t.tolist() for t in obj]


def test_parameters_and_identity():
    p = nn.Parameter(dtorch.ones(2), requires_grad=False)
    b = nn.Buffer(dtorch.zeros(1), persistent=False)
    got = through([p, p, b, dtorch.ones(1, requires_grad=True)])
    assert type(got[0]) is nn.Parameter
    assert got[0] is got[1]
    assert not got[0].requires_grad
    assert type(got[2]) is nn.Buffer
    assert got[2].persistent is False
    assert got[3].requires_grad


def test_state_dicts_need_no_pickle():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    opt = dtorch.optim.Adam(model.parameters())
    scheduler = dtorch.optim.lr_scheduler.MultiStepLR(opt, [1, 2])
    model(dtorch.ones(4, 2)).sum().backward()
    opt.step()
    got = through([model.state_dict(), opt.state_dict(), scheduler.state_dict()])
    assert got[0]._metadata == model.state_dict()._metadata
    nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).load_state_dict(got[0])
    opt.load_state_dict(got[1])
    saved, now = (s["state"][0]["exp_avg"].tolist() for s in (got[1], opt.state_dict()))
    assert saved == now
    scheduler.load_state_dict(got[2])


def test_other_objects_only_when_asked_for():
    obj = {"model": nn.Linear(2, 2)}
    with pytest.raises(pickle.UnpicklingError, match=r"Linear.*weights_only=False"):
        through(obj)
    got = through(obj, weights_only=False)["model"]
    assert got.weight.tolist() == obj["model"].weight.tolist()
    with pytest.raises(TypeError, match="cannot be saved"):
        through(lambda: 0)


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path):
    path = tmp_path / "model.dt"
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
    assert os.listdir(tmp_path) == ["model.dt"]
    dtorch.save(2, path)
    assert dtorch.load(path) == 2
    assert os.listdir(tmp_path) == ["model.dt"]


def test_a_damaged_file_is_named_with_what_was_expected(tmp_path):
    path = tmp_path / "model.dt"
    dtorch.save(dtorch.from_numpy(np.full(1000, 3.0)), path)
    good = path.read_bytes()
    for size in (len(good) - 1, len(good) // 2, 400):
        path.write_bytes(good[:size])
        with pytest.raises(RuntimeError, match=rf"model.dt is truncated: .*8000.*found {size}"):
            dtorch.load(path)
    at = good.index(np.float64(3.0).tobytes() * 2)
    path.write_bytes(good[: at + 100] + b"\x01" + good[at + 101 :])
    with pytest.raises(RuntimeError, match=r"model.dt is damaged: storages/0 should be 8000 bytes"):
        dtorch.load(path)
    path.write_bytes(b"hello")
    with pytest.raises(RuntimeError, match="model.dt is no file of dtorch.save"):
        dtorch.load(path)


def test_torchs_files_are_recognised(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(RuntimeError, match="torch's format"):
        dtorch.load(path)
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="torch's old format"):
        dtorch.load(path)


def test_a_view_outside_its_memory_is_refused():
    file = io.BytesIO()
    dtorch.save(dtorch.ones(4), file)
    forged = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(forged, "w") as copy:
        manifest = archive.read("dtorch.json")
        assert manifest.count(b"[4],[1],0") == 1
        copy.writestr("dtorch.json", manifest.replace(b"[4],[1],0", b"[4],[9],0"))
        copy.writestr("storages/0", archive.read("storages/0"))
    forged.seek(0)
    with pytest.raises(RuntimeError, match="does not lie in its 16 bytes"):
        dtorch.load(forged)


@pytest.mark.parametrize(
    "where",
    ["cpu", dtorch.device("cpu"), {"cpu": "cpu"}, lambda t, place: t, lambda t, place: None],
)
def test_map_location(where):
    assert through(dtorch.ones(2), map_location=where).tolist() == [1, 1]


def test_pickle_and_map_location_to_a_missing_device():
    t = pickle.loads(pickle.dumps(nn.Parameter(dtorch.ones(2))))
    assert type(t) is nn.Parameter
    assert t.tolist() == [1, 1]
    if not dtorch.cuda.is_available():
        with pytest.raises(RuntimeError, match="map_location='cpu'"):
            through(dtorch.ones(2), map_location="cuda")
