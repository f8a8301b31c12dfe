"""Convolutions by cuDNN: a stand-in computes what the graphs say; real plans for an H200."""

import ctypes
import json
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import torch

from dtorch.core.backend import cublas, cudnn
from dtorch.core.op import REGISTRY
from dtorch.core.ops.windows import Geometry, out_size

# size, kernel, stride, padding, dilation; N, C, M, groups
CASES = {
    "3x3": (((9, 8), (3, 3), (1, 1), (1, 1), (1, 1)), (2, 4, 6, 1)),
    "strided, a rest": (((10, 9), (3, 2), (2, 3), (1, 0), (1, 1)), (2, 4, 6, 1)),
    "dilated": (((11, 12), (3, 3), (1, 1), (2, 2), (2, 2)), (2, 4, 6, 1)),
    "grouped": (((7, 7), (3, 3), (1, 1), (1, 1), (1, 1)), (2, 4, 6, 2)),
    "depthwise": (((7, 7), (3, 3), (2, 2), (1, 1), (1, 1)), (2, 8, 8, 8)),
    "1x1": (((5, 5), (1, 1), (1, 1), (0, 0), (1, 1)), (2, 8, 16, 1)),
    "a line": (((20,), (5,), (2,), (2,), (1,)), (2, 4, 6, 1)),
    "a volume": (((5, 6, 7), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)), (1, 4, 6, 1)),
}


class NotSupported(Exception):
    pass


class Tensor:
    """A tensor of a graph; each setter returns it."""

    def __init__(self, **what):
        self.__dict__.update(what)

    def __getattr__(self, name):
        if not name.startswith("set_"):
            raise AttributeError(name)
        return lambda value: (self.__dict__.update({name[4:]: value}), self)[1]

    def at(self, address):
        d = np.dtype(self.data_type)
        n = sum((k - 1) * s for k, s in zip(self.dim, self.stride)) + 1
        memory = (ctypes.c_char * (n * d.itemsize)).from_address(address)
        return np.ndarray(self.dim, d, memory, strides=[s * d.itemsize for s in self.stride])


class Graph:
    """The part of cudnn.pygraph that is used: one convolution, computed by torch in float64."""

    def __init__(self, **options):
        self.unwanted = []

    def tensor(self, **what):
        return Tensor(**what)

    def _make(self, kind, steps, **tensors):
        self.kind, self.steps, self.given, self.out = kind, steps, tensors, Tensor()
        return self.out

    def conv_fprop(self, image, weight, **steps):
        return self._make("fprop", steps, x=image, w=weight)

    def conv_dgrad(self, loss, filter, **steps):
        return self._make("dgrad", steps, y=loss, w=filter)

    def conv_wgrad(self, image, loss, **steps):
        return self._make("wgrad", steps, x=image, y=loss)

    def validate(self):
        assert self.out.output

    def build_operation_graph(self):
        pass

    check_support = build_operation_graph

    def create_execution_plans(self, modes):
        pass

    build_plans = create_execution_plans

    def deselect_numeric_notes(self, notes):
        self.unwanted += notes

    def get_workspace_size(self):
        return 64

    def execute(self, pointers, workspace, handle):
        assert handle == 7
        v = {
            k: torch.from_numpy(t.at(pointers[t.uid]).astype("float64"))
            for k, t in self.given.items()
        }
        p = [self.steps[k] for k in ("stride", "padding", "dilation")]
        shapes = {"fprop": None, "dgrad": ("x", "w"), "wgrad": ("w", "x")}[self.kind]
        n = len(p[0])
        forward = getattr(torch.nn.functional, f"conv{n}d")
        if shapes is None:
            groups = v["x"].shape[1] // v["w"].shape[1]
            y = forward(v["x"], v["w"], None, *p, groups)
        else:  # the adjoint of a linear map, by autograd
            free = torch.zeros(tuple(self.out.dim), dtype=torch.float64, requires_grad=True)
            v[shapes[0]] = free
            groups = v["x"].shape[1] // v["w"].shape[1]
            forward(v["x"], v["w"], None, *p, groups).backward(v["y"])
            y = free.grad
        self.out.at(pointers[self.out.uid])[...] = y.numpy()


def frontend():
    kinds = {
        "FLOAT": "float32",
        "DOUBLE": "float64",
        "HALF": "float16",
        "BFLOAT16": ml_dtypes.bfloat16,
    }
    return SimpleNamespace(
        data_type=SimpleNamespace(**kinds), pygraph=Graph, create_handle=lambda: 7,
        set_stream=lambda handle, stream: None, cudnnGraphNotSupportedError=NotSupported,
        numerical_note=SimpleNamespace(NONDETERMINISTIC="random", TENSOR_CORE="tensor cores"),
        heur_mode=SimpleNamespace(A=0, FALLBACK=1),
        build_plan_policy=SimpleNamespace(HEURISTICS_CHOICE=0),
    )  # fmt: skip


def backend(library, options=None):
    xp = SimpleNamespace(
        empty=lambda shape, d: np.full(shape, np.nan).astype(d) if d != "uint8" else np.empty(shape, d),
        ascontiguousarray=np.ascontiguousarray, address=lambda a: a.ctypes.data,
    )  # fmt: skip
    plans = cudnn.Cudnn(xp, library, lambda: 5, options)
    xp.convolutions = lambda: plans
    return xp


def given(case, dtype):
    """x, w, a bias, the gradient of the result; the geometry and the groups"""
    (size, kernel, stride, padding, dilation), (n, c, m, groups) = CASES[case]
    geo = Geometry(size, kernel, out_size(size, kernel, stride, padding, dilation), stride, padding,
                   dilation)  # fmt: skip
    rng = np.random.default_rng(0)
    shapes = (n, c, *size), (m, c // groups, *kernel), (m,), (n, m, *geo.out)
    return [rng.standard_normal(s).astype(dtype) for s in shapes], geo, groups


def last(a):
    """The same array, with its channels last in memory."""
    order = (0, *range(2, a.ndim), 1)
    back = (0, a.ndim - 1, *range(1, a.ndim - 1))
    return np.ascontiguousarray(a.transpose(order)).transpose(back)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize("layout", ["first", "last", "mixed", "strided"])
def test_convolutions_and_their_gradients(case, dtype, layout):
    (x, w, b, g), geo, groups = given(case, dtype)
    xp, p = backend(frontend()), {"geo": geo, "groups": groups}
    if layout == "last":
        x, w, g = map(last, (x, w, g))
    elif layout == "mixed":
        x, g = map(last, (x, g))
    elif layout == "strided":
        x = np.repeat(x, 2, -1)[..., ::2]
    tx, tw, tb = (torch.tensor(a.astype("float64"), requires_grad=True) for a in (x, w, b))
    conv = getattr(torch.nn.functional, f"conv{len(geo.size)}d")
    want = conv(tx, tw, tb, geo.stride, geo.padding, geo.dilation, groups)
    want.backward(torch.tensor(g.astype("float64")))
    results = {
        "convolution": ((x, w, b), want),
        "convolution_transpose": ((g, w, None), tx.grad),
        "convolution_weight": ((x, g), tw.grad),
    }
    tolerance = {"float64": 1e-10, "float32": 1e-5, "float16": 4e-3}.get(str(np.dtype(dtype)), 3e-2)
    for name, (arrays, expected) in results.items():
        y = REGISTRY[name].fused["cuda"](xp, *arrays, **p)
        assert y.dtype == dtype
        expected = expected.detach().numpy()
        worst = np.abs(y.astype("float64") - expected).max() / np.abs(expected).max()
        assert worst < tolerance, (name, worst)
        if layout == "last" and x.ndim > 3:  # as torch: what comes in so goes out so
            assert cudnn._channels_last(y) or y.flags.c_contiguous


def test_plans_are_kept_and_say_what_is_not_wanted(monkeypatch):
    (x, w, _, _), geo, _ = given("3x3", "float32")
    plans = backend(frontend()).convolutions()
    for allowed in (False, True):
        monkeypatch.setattr(cublas, "allow_tf32", allowed)
        for exactly in (False, True, False):
            plans.convolution(x, w, geo, exactly)
    assert [p.graph.unwanted for p in plans.plans.values()] == [
        ["tensor cores"], ["random", "tensor cores"], [], ["random"]
    ]  # fmt: skip


def test_what_cudnn_does_not_do_is_left():
    (x, w, _, _), geo, _ = given("3x3", "float32")
    library = frontend()
    plans = backend(library).convolutions()
    assert plans.convolution(x.astype("float64"), w, geo) is None
    assert plans.convolution(x.astype("int64"), w.astype("int64"), geo) is None
    assert plans.convolution(x[:0], w, geo) is None

    def refuse(self):
        raise NotSupported

    library.pygraph = type("Refusing", (Graph,), {"check_support": refuse})
    assert backend(library).convolutions().convolution(x, w, geo) is None


# What cudnn.create_device_properties(0).serialize() holds on an H200: public facts.
H200 = {
    "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
    "regsPerBlock": 65536, "multiProcessorCount": 132, "warpSize": 32,
    "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
    "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
    "supportCoopLaunch": 1, "totalGlobalMem": 150754820096, "smClockRateKHz": 1980000,
    "memClockRateKHz": 3201000, "l2CacheSize": 62914560, "cudaDeviceId": 0, "deviceVer": 900,
    "driverVer": 13000, "deviceName": "NVIDIA H200",
}  # fmt: skip


@pytest.fixture(scope="module")
def real():
    library = cudnn.library()
    if library is None:
        pytest.skip("cuDNN is not installed: make test-gpu-build")
    properties = library.create_device_properties(json.dumps(H200))
    return library, {"device_property": properties, "sm_version": 90}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
def test_cudnn_has_a_plan_for_each_on_an_h200(real, case, dtype, monkeypatch):
    (x, w, _, g), geo, groups = given(case, dtype)
    plans = backend(*real).convolutions()
    plans.cudnn = SimpleNamespace(**vars(plans.cudnn) | {"set_stream": lambda **_: None})
    made = []

    def planned(*arguments):
        made.append(cudnn.Cudnn._plan(plans, *arguments))  # nothing can be executed here

    monkeypatch.setattr(plans, "_plan", planned)
    for turn in (lambda a: a, last):
        plans.convolution(turn(x), turn(w), geo)
        plans.convolution_transpose(turn(g), turn(w), geo, groups)
        plans.convolution_weight(turn(x), turn(g), geo, groups)
    assert made
    assert None not in made
