"""Convolutions by cuDNN, through NVIDIA's cudnn-frontend.

A plan is a graph of one convolution for given shapes, strides and dtype; it is made once.  Only numbers
go in, addresses and the library's own constants: the frontend imports torch for anything else.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

from . import cublas

TYPES = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF", "bfloat16": "BFLOAT16"}
X, W, Y = 1, 2, 3  # the tensors of a plan: images, filters, results


def library() -> Any:
    """The frontend, or None where it or cuDNN is not installed."""
    if importlib.util.find_spec("cudnn") is None:
        return None
    try:
        finder = importlib.import_module("cuda.pathfinder")
        for name in ("cudart", "nvrtc"):
            finder.load_nvidia_dynamic_lib(name)  # cuDNN opens them by name, wherever they are
        return importlib.import_module("cudnn")
    except (ImportError, RuntimeError, OSError):
        return None


class Plan(NamedTuple):
    graph: Any
    workspace: int  # bytes


class Cudnn:
    """The convolutions on one device, in one thread.

    xp: the backend; cudnn: the frontend; stream(): the current one; options: of each graph, the
    handle by default, or what a device is to plan for where there is none
    """

    def __init__(
        self, xp: Any, cudnn: Any, stream: Any, options: dict[str, Any] | None = None
    ) -> None:
        self.xp, self.cudnn, self.stream = xp, cudnn, stream
        self.handle = cudnn.create_handle() if options is None else None
        self.options = {"handle": self.handle} if options is None else options
        self.used: Any = None  # the stream that the handle has
        self.plans: dict[Any, Plan | None] = {}

    def convolution(self, x: Any, w: Any, geo: Any, deterministic: bool = False) -> Any:
        """(N, C, *size), (M, C / groups, *kernel) -> (N, M, *out); None where cuDNN has none."""
        shape = (x.shape[0], w.shape[0], *geo.out)
        return self._run("conv_fprop", {X: x, W: w}, Y, shape, geo, deterministic)

    def convolution_transpose(self, y: Any, w: Any, geo: Any, groups: int,
                              deterministic: bool = False) -> Any:  # fmt: skip
        """The adjoint in the images: (N, M, *out), (M, C / groups, *kernel) -> (N, C, *size)"""
        shape = (y.shape[0], w.shape[1] * groups, *geo.size)
        return self._run("conv_dgrad", {Y: y, W: w}, X, shape, geo, deterministic)

    def convolution_weight(self, x: Any, y: Any, geo: Any, groups: int,
                           deterministic: bool = False) -> Any:  # fmt: skip
        """The adjoint in the filters: (N, C, *size), (N, M, *out) -> (M, C / groups, *kernel)"""
        shape = (y.shape[1], x.shape[1] // groups, *geo.kernel)
        return self._run("conv_wgrad", {X: x, Y: y}, W, shape, geo, deterministic)

    def _run(self, kind: str, given: dict[int, Any], to: int, shape: Any, geo: Any,
             deterministic: bool) -> Any:  # fmt: skip
        first, second = given.values()
        if first.dtype != second.dtype or first.dtype.name not in TYPES:
            return None
        if not first.size or not second.size or 0 in shape:
            return None
        last = any(_channels_last(a) for a in given.values())
        given = {k: _dense(self.xp, a) for k, a in given.items()}
        out = _empty(self.xp, shape, first.dtype, last)
        arrays = {**given, to: out}
        places = {k: _place(a) for k, a in arrays.items()}
        key = (kind, str(first.dtype), tuple(places.items()), geo, deterministic, cublas.allow_tf32)
        if key not in self.plans:
            self.plans[key] = self._plan(kind, first.dtype, places, to, geo, deterministic)
        plan = self.plans[key]
        if plan is None:
            return None
        if (stream := self.stream()) != self.used:  # setting it takes microseconds
            self.cudnn.set_stream(handle=self.handle, stream=stream)
            self.used = stream
        room = self.xp.empty(max(plan.workspace, 1), "uint8")
        address = self.xp.address
        pointers = {k: address(a) for k, a in arrays.items()}
        plan.graph.execute(pointers, address(room), handle=self.handle)
        return out

    def _plan(self, kind: str, d: Any, places: Any, to: int, geo: Any,
              deterministic: bool) -> Plan | None:  # fmt: skip
        """The plan of one convolution, or None where cuDNN has no kernel for it."""
        cudnn = self.cudnn
        io = getattr(cudnn.data_type, TYPES[d.name])
        inside = cudnn.data_type.DOUBLE if d == "float64" else cudnn.data_type.FLOAT
        graph = cudnn.pygraph(io_data_type=io, intermediate_data_type=inside,
                              compute_data_type=inside, **self.options)  # fmt: skip
        tensors = {
            k: graph.tensor(name=str(k), dim=dims, stride=steps, data_type=io, uid=k)
            for k, (dims, steps) in places.items()
            if k != to
        }
        names = {"conv_fprop": ("image", "weight"), "conv_dgrad": ("loss", "filter"),
                 "conv_wgrad": ("image", "loss")}[kind]  # fmt: skip
        lead = () if len(geo.size) > 1 else (None,)
        padding, stride, dilation = (
            [*(one for _ in lead), *values]
            for one, values in ((0, geo.padding), (1, geo.stride), (1, geo.dilation))
        )
        out = getattr(graph, kind)(
            **dict(zip(names, tensors.values())), padding=padding, stride=stride, dilation=dilation
        )
        dims, steps = places[to]
        out.set_output(True).set_dim(dims).set_stride(steps).set_data_type(io).set_uid(to)
        notes = cudnn.numerical_note
        unwanted = [notes.NONDETERMINISTIC] * deterministic
        if d == "float32" and not cublas.allow_tf32:
            unwanted.append(notes.TENSOR_CORE)
        try:
            graph.validate()
            graph.build_operation_graph()
            graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
            if unwanted:
                graph.deselect_numeric_notes(unwanted)
            graph.check_support()
            graph.build_plans(cudnn.build_plan_policy.HEURISTICS_CHOICE)
        except cudnn.cudnnGraphNotSupportedError:
            return None
        return Plan(graph, graph.get_workspace_size())


def _channels_last(a: Any) -> bool:
    """Whether an array (N, C, *size) lies in memory as (N, *size, C), and not also as it is."""
    if a.ndim < 4 or a.flags.c_contiguous:
        return False
    return bool(a.transpose(0, *range(2, a.ndim), 1).flags.c_contiguous)


def _dense(xp: Any, a: Any) -> Any:
    return a if a.flags.c_contiguous or _channels_last(a) else xp.ascontiguousarray(a)


def _empty(xp: Any, shape: Any, d: Any, last: bool) -> Any:
    """A new array (N, C, *size), with its channels last in memory if so asked, as torch does."""
    if not last:
        return xp.empty(shape, d)
    n = len(shape)
    order = (shape[0], *shape[2:], shape[1])
    return xp.empty(order, d).transpose(0, n - 1, *range(1, n - 1))


def _place(a: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides in elements; lines are images of height 1."""
    shape, steps = a.shape, tuple(s // a.itemsize for s in a.strides)
    if a.ndim > 3:
        return shape, steps
    return (*shape[:2], 1, shape[2]), (*steps[:2], shape[2] * steps[2], steps[2])
