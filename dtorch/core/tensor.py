"""Tensor: an array, its gradient, and its place in the graph.  Ops are attached in methods.py."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import backend, graph
from . import dtype as dtypes
from .backend.cpu import ndarray
from .backend.onednn import channels_first
from .backend.sparse import SparseArray
from .device import device as Device
from .device import of as device_of
from .graph import Handle, Node, add_hook, leaf_extras, node_hooks, writes
from .modes import grad_on

new = object.__new__


class Size(tuple[int, ...]):
    """A shape."""

    __slots__ = ()

    def numel(self) -> int:
        n = 1
        for k in self:
            n *= k
        return n

    def __repr__(self) -> str:
        return f"{dtypes.package}.Size({list(self)})"

    def __getitem__(self, i: Any) -> Any:
        got = tuple.__getitem__(self, i)
        return Size(got) if isinstance(i, slice) else got

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Size, (tuple(self),)


def disabled_torch_function(*args: Any, **kwargs: Any) -> Any:
    """The __torch_function__ of subclasses of which ops make plain tensors, such as Parameter."""
    return NotImplemented


class Tensor:
    """An n-dimensional array with automatic differentiation.

    The public attributes are torch's: data, dtype, shape, device, grad, grad_fn, requires_grad,
    is_leaf.  `_a` is the array; a view's array shares the memory of its base's.
    """

    __slots__ = (
        "_a",
        "_rg",
        "_node",
        "_grad",
        "_base",
        "_views",
        "_leaf",
        "__dict__",
        "__weakref__",
    )
    __array_ufunc__ = None  # np.exp(tensor) raises instead of making an array of objects
    __array_priority__ = 1000

    _a: Any  # the array
    _rg: bool  # requires_grad
    _node: Node | None  # the op that made it, where that is recorded
    _grad: Tensor | None
    _base: Tensor | None  # the tensor that this is a differentiable view of
    # Of a base: its live views.  Of a view: why it must not be written to, NO_GRAD or SEVERAL.
    _views: list[weakref.ref[Tensor]] | str | None
    _leaf: Any  # hooks and such: graph.LeafExtras

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        """The legacy constructor: Tensor(2, 3) is uninitialised, Tensor([1, 2]) holds the values."""
        from .ops.create import legacy_tensor

        t = legacy_tensor(*args, **kwargs)
        return t if cls is Tensor else as_subclass(t, cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__torch_function__ is not disabled_torch_function:
            from .subclasses import adopt

            adopt(cls)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each op on an instance of a user's subclass; its results are of that class."""
        from .subclasses import default

        return default(cls, func, args, kwargs or {})

    if TYPE_CHECKING:  # what methods.py hangs on the class
        T: Any
        mT: Any
        H: Any
        mH: Any

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
        __matmul__ = __pow__ = __lt__ = __gt__ = __le__ = __ge__ = __add__

        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __neg__(self) -> Tensor: ...

    # ---- the eight attributes, and kin -----------------------------------------------------------

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of_numpy(self._a.dtype)

    @property
    def shape(self) -> Size:
        return Size(self._a.shape)

    @property
    def device(self) -> Device:
        return device_of(self._a)

    @property
    def ndim(self) -> int:
        return self._a.ndim

    @property
    def data(self) -> Tensor:
        """The same memory without history; setting it replaces the memory.

        Writes to it are not noticed by backward, unlike those to detach().
        """
        a = settled(self)
        apart = backend.of(a).apart
        t = wrap(a.mapped(apart) if isinstance(a, SparseArray) else apart(a))
        plain = type(self).__torch_function__ is disabled_torch_function
        return t if plain or type(self) is Tensor else as_subclass(t, type(self))

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        self._a = settled(value)

    @property
    def grad(self) -> Tensor | None:
        if self._grad is None and self._node is not None and not self.retains_grad:
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. It won't "
                "be populated during autograd.backward(). If you indeed want that, use .retain_grad() "
                "on the Tensor. If you access it by mistake, make sure you access the leaf instead.",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    "assigned grad expected to be a Tensor or None but got grad of type "
                    f"{type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._a.shape != self._a.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of "
                    f"size '{list(self.shape)}'. Please ensure that the gradient and the tensor are "
                    "the same size"
                )
            if value._a.dtype != self._a.dtype:
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{value.dtype}' to a tensor with "
                    f"dtype '{self.dtype}'. Please ensure that they are the same: grad.to(dtype)"
                )
            if value.device != self.device:
                raise RuntimeError(
                    f"assigned grad has data located on a different device: expected "
                    f"{self.device}, got {value.device}"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_fn(self) -> Node | None:
        n = self._node
        return n.edges[0] if n is not None and n.op is graph.PICK else n

    @property
    def requires_grad(self) -> bool:
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError(f"requires_grad must be a bool, got {type(value).__name__}")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Start or stop recording what is done with this leaf."""
        if not requires_grad and self._node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if requires_grad and self.dtype.category < 2:
            raise RuntimeError(
                f"only Tensors of floating point and complex dtype can require gradients, got "
                f"{self.dtype}"
            )
        self._rg = bool(requires_grad)
        if self._base is not None and requires_grad:
            self._views = None  # a leaf of its own
        pass_on(self if self._base is None else self._base)
        return self

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    @property
    def output_nr(self) -> int:
        n = self._node
        return n.params["index"] if n is not None and n.op is graph.PICK else 0

    @property
    def _version(self) -> int:
        return writes.version(self._a)

    @property
    def retains_grad(self) -> bool:
        return "_retains" in self.__dict__

    # ---- autograd --------------------------------------------------------------------------------

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Call hook(gradient) when this tensor's gradient is known; a result replaces it."""
        if not self._rg:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            return add_hook(node_hooks(self._node).tensor, hook)
        return add_hook(leaf_extras(self).pre, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> Handle:
        """Call hook(leaf) each time that backward has added to the leaf's .grad."""
        if not self._rg:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        return add_hook(leaf_extras(self).post, hook)

    def retain_grad(self) -> None:
        """Keep the gradient of a non-leaf in .grad too."""
        if not self._rg:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self._node is None or self.retains_grad:
            return
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            t = me()
            if t is not None:
                t._grad = g.clone() if t._grad is None else t._grad + g

        self.__dict__["_retains"] = add_hook(node_hooks(self._node).retain, keep)

    def is_inference(self) -> bool:
        """False: what is made in inference_mode is an ordinary tensor here."""
        return False

    def detach(self) -> Tensor:
        """The same memory, without history."""
        return wrap(settled(self))

    def detach_(self) -> Tensor:
        """Forget the history, in place."""
        if self._base is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using "
                "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
                "True, gradients are views of DDP buckets, and hence detach_() cannot be called on "
                "these gradients."
            )
        self._node, self._rg = None, False
        self.__dict__.pop("_retains", None)
        pass_on(self)
        return self

    # ---- memory ----------------------------------------------------------------------------------

    def numel(self) -> int:
        return self._a.size

    nelement = numel

    def dim(self) -> int:
        return self._a.ndim

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        if dim is None:
            return Size(self._a.shape)
        if not -self._a.ndim <= dim < self._a.ndim:
            raise _dim_error(dim, self._a.ndim)
        return self._a.shape[dim]

    def stride(self, dim: int | None = None) -> Any:
        """The distance between neighbours along each dimension, in elements."""
        a = settled(self)
        strides = tuple(s // a.itemsize for s in a.strides)
        return strides if dim is None else strides[dim]

    def storage_offset(self) -> int:
        """Where the first element lies in the storage, in elements."""
        a = settled(self)
        xp = backend.of(a)
        offset: int = xp.address(a) - xp.address(xp.root(a))
        return offset // a.itemsize

    def data_ptr(self) -> int:
        a = settled(self)
        return backend.of(a).address(a)

    def element_size(self) -> int:
        return self._a.itemsize

    @property
    def itemsize(self) -> int:
        return self._a.itemsize

    @property
    def nbytes(self) -> int:
        return self._a.nbytes

    def is_contiguous(self, memory_format: Any = None) -> bool:
        return bool(settled(self).flags.c_contiguous)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def layout(self) -> dtypes.layout:
        return dtypes.LAYOUTS[getattr(self._a, "layout", "strided")]

    @property
    def is_sparse(self) -> bool:
        return self.layout is dtypes.sparse_coo

    @property
    def is_sparse_csr(self) -> bool:
        return self.layout is dtypes.sparse_csr

    is_quantized = is_nested = is_meta = is_mkldnn = False

    def get_device(self) -> int:
        """The index of the CUDA device; -1 on the CPU."""
        index = self.device.index
        return -1 if index is None else index

    def numpy(self, *, force: bool = False) -> Any:
        """The array itself: it shares memory with the tensor.  force=True detaches and copies."""
        if force:
            return backend.of(self._a).to_numpy(self._a)
        if self._rg:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        if self.layout is not dtypes.strided:
            raise TypeError(
                f"can't convert {self.layout} layout tensor to numpy. Use Tensor.to_dense() first."
            )
        if type(self._a) is not ndarray:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy "
                "the tensor to host memory first."
            )
        return settled(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        a = self.numpy()
        if copy is False and dtype is not None and dtype != a.dtype:
            raise ValueError(f"a {self.dtype} tensor is no array of {dtype} without a copy")
        return a.astype(dtype or a.dtype, copy=bool(copy))

    def tolist(self) -> Any:
        return backend.of(self._a).to_numpy(self._a).tolist()

    def item(self) -> Any:
        if self._a.size != 1:
            raise RuntimeError(
                f"a Tensor with {self._a.size} elements cannot be converted to Scalar"
            )
        return backend.of(self._a).to_numpy(self._a).item()

    # ---- Python's protocols ----------------------------------------------------------------------

    def __bool__(self) -> bool:
        if self._a.size != 1:
            words = "no values" if not self._a.size else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {words} is ambiguous")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.category > 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self._a.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self._a)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, x: Any) -> bool:
        return bool((self == x).any().item())

    __hash__ = object.__hash__

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from .printing import tensor_str

        return tensor_str(self, tensor_contents=tensor_contents)

    def __format__(self, spec: str) -> str:
        plain = type(self) is Tensor and not self._a.ndim
        return format(self.item(), spec) if plain else object.__format__(self, spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        from .rebuild import deepcopy_tensor

        return deepcopy_tensor(self, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        from .rebuild import reduce_tensor

        return reduce_tensor(self)


def _dim_error(dim: int, ndim: int) -> IndexError:
    n = max(ndim, 1)
    return IndexError(
        f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"
    )


def _init(t: Tensor, array: Any) -> None:
    t._a = array
    t._rg = False
    t._node = t._grad = t._base = t._views = t._leaf = None


def settled(t: Tensor) -> Any:
    """The array of `t`, in the memory order that `t` shows.

    Images come from their kernels with the channels last, and stay so from op to op.  That is nobody
    else's business: to whoever looks at strides or memory they are in C order, from then on.
    """
    a = t._a
    if type(a) is ndarray and a.ndim > 3 and a.base is None and not a.flags.c_contiguous:
        t._a = a = channels_first(a)
    return a


def wrap(array: Any, node: Node | None = None) -> Tensor:
    """The tensor of an array, which it shares memory with, and of the node that made it."""
    t = new(Tensor)
    t._a = array
    t._rg = node is not None
    t._node = node
    t._grad = t._base = t._views = t._leaf = None
    return t


def as_subclass(t: Tensor, cls: type) -> Any:
    """The same array and history as an instance of a subclass of Tensor."""
    s: Any = new(cls)
    _init(s, t._a)
    s._rg, s._node = t._rg, t._node
    return s


def edge(t: Any) -> Any:
    """Where a tensor's gradient goes: its node, itself if it is a leaf that wants one, or None."""
    if t._node is not None:
        return t._node
    return t if t._rg else None


# Views that must not be written to while gradients are recorded (torch's rules; the texts are for
# errors): those made under no_grad, and those that a function returns several of.
NO_GRAD = "was created in no_grad mode"
SEVERAL = "is the output of a function that returns multiple views"


def register_view(view: Tensor, of: Tensor) -> Tensor:
    """Note that `view` shares memory with `of`, so that an in-place write reaches its history."""
    base = of._base
    if base is None:
        base = of
    else:
        view._views = of._views
    view._base = base
    views: Any = base._views
    if views is None:
        base._views = [weakref.ref(view)]
    else:
        views.append(weakref.ref(view))
        if not len(views) & 31:
            forget_dead(views)
    if not grad_on():
        view._rg, view._views = base._rg, NO_GRAD
    return view


def forget_dead(views: list[weakref.ref[Tensor]]) -> None:
    """Take the views that are gone off a base's list, which is done now and then."""
    views[:] = [r for r in views if r() is not None]


def pass_on(base: Tensor) -> None:
    """Views without history require a gradient if their base does, but get none."""
    for view in live_views(base):
        if view._node is None and (view._views is not None or not view._rg):
            view._rg = base._rg
            view._views = view._views or (NO_GRAD if base._rg else None)


def several_views(views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Mark the views that one function returns."""
    if grad_on():
        for view in views:
            view._views = SEVERAL
    return views


def live_views(base: Tensor) -> list[Tensor]:
    """The views of a base that still exist."""
    views: Any = base._views
    return [v for r in views or () if (v := r()) is not None]
