"""vmap: a function of one sample as a function of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..core.ops.join import stack
from ..core.random import get_rng_state, set_rng_state
from ..core.tensor import Tensor
from ..utils._pytree import TreeSpec, broadcast_prefix, tree_flatten, tree_structure, tree_unflatten


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that calls func on each slice of its arguments and stacks the results.

    in_dims: which dimension to map over: an int for all arguments, or nested as they are, where None
        stands for an argument that every call gets whole
    out_dims: where the mapped dimension is in the results; None for a result that is the same in all
    randomness: whether func may draw random numbers: "error", "different" or "same" in each call
    chunk_size: accepted; samples are taken one by one

    Keyword arguments are passed on whole.  func is called once a sample, so what torch's vmap can't
    do (control flow that depends on the data, item()) works here.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
        )
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", repr(func))

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dims, leaves, spec = _mapped(name, in_dims, args)
        n = _batch_size(dims, leaves)
        calls = []
        state = get_rng_state()
        for i in range(max(n, 1)):
            if randomness == "same":
                set_rng_state(state)
            # an empty batch: one call on zeros tells the shapes of the results
            xs = [_slice(x, d, i) if n else _zeros(x, d) for x, d in zip(leaves, dims)]
            calls.append(func(*tree_unflatten(xs, spec), **kwargs))
            if randomness == "error" and get_rng_state().tolist() != state.tolist():
                raise RuntimeError(
                    "vmap: called random operation while in randomness error mode. Please either use "
                    "the 'same' or 'different' randomness flags on vmap or perform the randomness "
                    "operation out of vmap"
                )
        return _joined(name, calls, out_dims, n)

    return wrapped


# ---- arguments -------------------------------------------------------------------------------


def _mapped(name: str, in_dims: Any, args: Any) -> tuple[list[Any], list[Any], TreeSpec]:
    """The dimension to map over (or None) of each leaf of the arguments, the leaves, their tree."""
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying "
            "to vmap over a function with no inputs. The latter is unsupported."
        )
    leaves, spec = tree_flatten(args)
    dims = broadcast_prefix(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{where}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{tree_structure(in_dims)} but inputs has structure {spec}."
        )
    checked = [_dim(where, d, x) for d, x in zip(dims, leaves)]
    if all(d is None for d in checked):
        raise ValueError(
            f"{where}: every in_dim is None, so there is nothing to map over: at least one argument "
            "needs a dimension"
        )
    return checked, leaves, spec


def _dim(where: str, d: Any, x: Any) -> int | None:
    if d is None:
        return None
    if not isinstance(d, int):
        raise ValueError(
            f"{where}: Got in_dim={d} for an input but in_dim must be either an integer dimension or "
            "None."
        )
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{where}: Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap "
            "over non-Tensor arguments, please use None as the respective in_dim"
        )
    if not -x.ndim <= d < x.ndim:
        raise ValueError(
            f"{where}: Got in_dim={d} for some input, but that input is a Tensor of dimensionality "
            f"{x.ndim} so expected in_dim to satisfy -{x.ndim} <= in_dim < {x.ndim}."
        )
    return d % x.ndim


def _batch_size(dims: list[Any], leaves: list[Any]) -> int:
    sizes = [x.shape[d] for d, x in zip(dims, leaves) if d is not None]
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0]


def _slice(x: Any, d: int | None, i: int) -> Any:
    return x if d is None else x.select(d, i)


def _zeros(x: Any, d: int | None) -> Any:
    return x if d is None else x.new_zeros([n for k, n in enumerate(x.shape) if k != d])


# ---- results ---------------------------------------------------------------------------------


def _joined(name: str, calls: list[Any], out_dims: Any, n: int) -> Any:
    """The results of all calls in one, along out_dims."""
    flat = [tree_flatten(result) for result in calls]
    spec = flat[0][1]
    dims = broadcast_prefix(out_dims, spec)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the "
            f"structure of `outputs`. out_dims has structure {tree_structure(out_dims)} but outputs "
            f"has structure {spec}."
        )
    columns = zip(*[leaves for leaves, _ in flat])
    return tree_unflatten([_column(name, list(c), d, n) for c, d in zip(columns, dims)], spec)


def _column(name: str, ys: list[Any], d: Any, n: int) -> Any:
    if d is None:
        if any(not _same(ys[0], y) for y in ys[1:]):
            raise ValueError(
                f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None"
            )
        return ys[0]
    for y in ys:
        if not isinstance(y, Tensor):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(y)}. Did you "
                "mean to set out_dims= to None for output?"
            )
    return stack(ys, d) if n else stack(ys, d).narrow(d, 0, 0)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.eq(b).all().item()
    return bool(a == b)


# ---- transforms that have nothing to do here -------------------------------------------------


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """func itself: what torch's version computes without in-place writes, it computes with them."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. "
            "Valid options are 'mutations' and 'mutations_and_views'"
        )

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapped


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """The tensor itself: transforms hand plain tensors to functions."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"debug_unwrap(): expected a Tensor, got {type(tensor).__name__}")
    return tensor
