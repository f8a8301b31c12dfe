"""What Tensor has for older scripts and other libraries, and is no op: FloatTensor and kin, apply_.

METHODS and PROPERTIES are hung on Tensor; FUNCTIONS and CLASSES are the package's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import backend
from . import dtype as dtypes
from .graph import ALIAS, Node, next_seq
from .modes import grad_on
from .ops.create import from_numpy, legacy_tensor
from .ops.sparse_create import sparse_coo_tensor
from .tensor import Tensor, as_subclass, edge
from .views import check_writable, writes

# ---- FloatTensor, LongTensor ... -------------------------------------------------------------


class _OfOneDtype(type):
    """The class of dtorch.FloatTensor and its kin: they make tensors, and know theirs by dtype.

    namespace: what is after dtorch: "", ".cuda", ".sparse"
    """

    dtype: dtypes.dtype
    namespace: str

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        if cls.namespace == ".sparse":
            size = args == () or all(isinstance(n, int) for n in args)
            given = (args or (0,),) if size else args
            return sparse_coo_tensor(*given, dtype=cls.dtype, device=device)
        where = "cuda" if cls.namespace and device is None else device
        return legacy_tensor(*args, device=where, dtype=cls.dtype)

    def __instancecheck__(cls, x: object) -> bool:
        return (
            isinstance(x, Tensor) and x.type() == f"{dtypes.package}{cls.namespace}.{cls.__name__}"
        )


def classes(namespace: str) -> dict[str, Any]:
    """FloatTensor and its kin for tensors of dtorch, dtorch.cuda or dtorch.sparse."""
    return {
        f"{word}Tensor": _OfOneDtype(f"{word}Tensor", (), {
            "dtype": d, "namespace": namespace, "__module__": f"dtorch{namespace}"
        })
        for d, word in dtypes.LEGACY_NAMES.items()
        if not word.startswith(("UInt", "Complex"))
    }  # fmt: skip


CLASSES = classes("")


def of_type(name_or_class: Any) -> dtypes.dtype:
    """The dtype that a dtype, dtorch.FloatTensor or "dtorch.FloatTensor" stands for."""
    if isinstance(name_or_class, dtypes.dtype):
        return name_or_class
    found = name_or_class
    if isinstance(found, str):
        package, _, name = found.partition(".")
        found = CLASSES.get(name) if package in ("dtorch", "torch") else None
    if not isinstance(found, _OfOneDtype):
        raise ValueError(f"invalid type: {name_or_class!r}; expected such as dtorch.FloatTensor")
    return found.dtype


def is_cuda_type(name_or_class: Any) -> bool:
    """Whether it is dtorch.cuda.FloatTensor or one of its kin."""
    return getattr(name_or_class, "namespace", "") == ".cuda"


def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """Tensor(*args) of this tensor's dtype and device."""
    where = self.device if device is None else device
    return legacy_tensor(*args, device=where, dtype=self.dtype)


def typename(obj: Any) -> str:
    """The name of a tensor's type, or of any object's class with its module."""
    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", None) or ""
    return kind.__qualname__ if module in ("", "builtins") else f"{module}.{kind.__qualname__}"


# ---- one element at a time -------------------------------------------------------------------


def _check_callback(t: Tensor, name: str) -> None:
    if t._rg:
        raise RuntimeError(
            f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() "
            "instead."
        )
    if not t.is_cpu:
        raise TypeError(f"{name} is only implemented on CPU tensors")
    check_writable(t)


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element by callable(element): slow, and for CPU tensors only."""
    _check_callback(self, "apply_")
    values = [callable(v) for v in self._a.reshape(-1).tolist()]
    self._a[...] = backend.cpu.asarray(values, self._a.dtype).reshape(self._a.shape)
    writes.stamp(self._a)
    return self


def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace each element by callable(element, that of `tensor`): slow, for CPU tensors only."""
    _check_callback(self, "map_")
    if tensor.dtype is not self.dtype:
        raise TypeError(f"map_: expected a tensor of {self.dtype}, got {tensor.dtype}")
    other = tensor.expand(self.shape)._a.reshape(-1).tolist()
    values = [callable(v, w) for v, w in zip(self._a.reshape(-1).tolist(), other)]
    self._a[...] = backend.cpu.asarray(values, self._a.dtype).reshape(self._a.shape)
    writes.stamp(self._a)
    return self


# ---- questions -------------------------------------------------------------------------------


def is_nonzero(input: Tensor) -> bool:
    """The truth of a tensor of one element; RuntimeError for any other."""
    return bool(input)


def is_inference(input: Tensor) -> bool:
    """Whether it was made in inference_mode in a way that forbids autograd: never, here."""
    return False


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The dimensions from the one with the largest stride to the one with the smallest."""
    steps = self.stride()
    return tuple(sorted(range(self.ndim), key=lambda i: -steps[i]))


def to_subclass(self: Tensor, cls: type) -> Any:
    """The same memory and history as an instance of a subclass of Tensor."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"cls must be a type inheriting from Tensor, got {cls!r}")
    t = as_subclass(self, cls)
    if grad_on() and self._rg:
        t._node = Node(ALIAS, (edge(self),), None, None, None, None, next_seq())
    return t


# ---- Python's and NumPy's protocols ----------------------------------------------------------


def _reversed(self: Tensor) -> Tensor:
    return self.flip(0) if self.ndim else self


def _delitem(self: Tensor, index: Any) -> None:
    raise TypeError("Tensor does not support deleting items")


def _array_wrap(self: Tensor, array: Any, *context: Any) -> Tensor:
    """What a NumPy function has made of this tensor, as a tensor again."""
    return from_numpy(array.astype("uint8") if array.dtype == bool else array)


def _cuda_array_interface(self: Tensor) -> Any:
    if not self.is_cuda:  # an AttributeError, so that hasattr() tells
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} If CUDA "
            "data is required use tensor.cuda() to copy tensor to device memory."
        )
    if self._rg:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients "
            "aren't required, use var.detach() to get Variable that doesn't require grad."
        )
    return self._a.__cuda_array_interface__


METHODS: dict[str, Any] = {
    "new": new, "apply_": apply_, "map_": map_, "is_nonzero": is_nonzero,
    "is_inference": is_inference, "dim_order": dim_order, "as_subclass": to_subclass,
    "const_data_ptr": Tensor.data_ptr, "__reversed__": _reversed, "__delitem__": _delitem,
    "__array_wrap__": _array_wrap,
}  # fmt: skip
PROPERTIES: dict[str, Any] = {
    "__cuda_array_interface__": _cuda_array_interface, "grad_dtype": lambda self: self.dtype,
    "name": lambda self: None,
} | dict.fromkeys(["is_mps", "is_xla", "is_xpu", "is_vulkan"], lambda self: False)  # fmt: skip
FUNCTIONS: dict[str, Any] = {
    "is_nonzero": is_nonzero, "is_inference": is_inference, "typename": typename,
    "detach": Tensor.detach,
}  # fmt: skip
