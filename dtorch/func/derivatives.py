"""Derivatives of functions of tensors, as functions: grad, vjp, jvp, jacobians, hessian.

Arguments and results may be nested in tuples, lists and dicts.  A result has a history only if it was
computed from what has one (a tensor that requires a gradient, an argument of an outer transform).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..core.levels import Level, Pushforward, pull, zeros
from ..core.modes import enable_grad
from ..core.ops.join import stack
from ..core.tensor import Tensor
from ..utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

Argnums = int | tuple[int, ...]


# ---- arguments and results -------------------------------------------------------------------


def _positions(argnums: Any, n: int) -> tuple[int, ...]:
    """The positions, counted from 0, of the arguments to differentiate with respect to."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    given = (argnums,) if isinstance(argnums, int) else argnums
    if not given:
        raise RuntimeError("argnums must be non-empty")
    if len(set(given)) != len(given):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    for i in given:
        if not isinstance(i, int):
            raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {argnums}")
        if not -n <= i < n:
            raise RuntimeError(f"Got argnum={i}, but only {n} positional inputs")
    return tuple(i % n for i in given)


class _Inputs:
    """The arguments of one call, those at `argnums` as inputs of a level."""

    def __init__(self, level: Level, argnums: Argnums, args: tuple[Any, ...]) -> None:
        at = _positions(argnums, len(args))
        chosen = args[at[0]] if isinstance(argnums, int) else tuple(args[i] for i in at)
        leaves, self.spec = tree_flatten(chosen)
        self.primals = [_checked(x) for x in leaves]
        self.tensors = [level.enter(x) for x in self.primals]
        entered = tree_unflatten(self.tensors, self.spec)
        self.args = list(args)
        for i, value in zip(at, (entered,) if isinstance(argnums, int) else entered):
            self.args[i] = value


def _checked(x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    if x.dtype.category < 2:
        raise RuntimeError(
            "only Tensors of floating point dtype can require gradients, or complex ones, got "
            f"{x.dtype}"
        )
    return x


def _with_aux(result: Any, has_aux: bool, who: str) -> tuple[Any, Any]:
    """(output, aux) of what the function returned."""
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(
            f"{who}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return result


def _tensors(tree: Any, who: str) -> tuple[list[Tensor], TreeSpec]:
    """The leaves of an output, which must be tensors."""
    leaves, spec = tree_flatten(tree)
    for y in leaves:
        if not isinstance(y, Tensor):
            raise RuntimeError(
                f"{who}: expected f(*primals) to return only tensors, got unsupported type {type(y)}"
            )
    return leaves, spec


def _released_aux(level: Level, aux: Any) -> Any:
    for x in tree_flatten(aux)[0]:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(x)}")
    return tree_map(level.release, aux)


# ---- backwards -------------------------------------------------------------------------------


def grad_and_value(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of func with respect to args[argnums], and func's value.

    func: returns a 0-d Tensor or, with has_aux, that and a nest of Tensors, which are handed on:
        (gradient, (value, aux))
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        who = "grad_and_value(f)(*args)"
        level = Level()
        inputs = _Inputs(level, argnums, args)
        with enable_grad():
            y, aux = _with_aux(func(*inputs.args, **kwargs), has_aux, who)
        level.close()
        if not isinstance(y, Tensor):
            raise RuntimeError(f"{who}: Expected f(*args) to return a Tensor, got {type(y)}")
        if y.ndim:
            raise RuntimeError(
                f"{who}: Expected f(*args) to return a scalar Tensor, got tensor with {y.ndim} dims."
                " Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        record = level.leaves_history([y])
        grads = pull([y], inputs.tensors, [zeros(y) + 1], False, record)
        gradient = tree_unflatten(map(level.release, grads), inputs.spec)
        value = level.release(y)
        return gradient, (value, _released_aux(level, aux)) if has_aux else value

    return wrapper


def grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of func, which returns a 0-d Tensor, with respect to
    args[argnums]; with has_aux, (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


class _Pullback:
    """What vjp returns: cotangents of the outputs in, gradients of the inputs out."""

    def __init__(self, level: Level, inputs: _Inputs, ys: list[Tensor], spec: TreeSpec) -> None:
        self.level = level
        self.inputs = inputs
        self.ys, self.spec = ys, spec

    def pull(self, gs: Sequence[Tensor], keep: bool = True) -> list[Tensor]:
        record = self.level.leaves_history([*self.ys, *gs])
        grads = pull(self.ys, self.inputs.tensors, gs, keep, record)
        return [self.level.release(g) for g in grads]

    def __call__(
        self, *cotangents: Any, retain_graph: bool = True, create_graph: Any = None
    ) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        gs, spec = tree_flatten(given)
        if spec != self.spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function. cotangents: {_stars(spec)}, primal output: "
                f"{_stars(self.spec)}"
            )
        for i, (g, y) in enumerate(zip(gs, self.ys)):
            if g.shape != y.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] "
                    f"has a shape of {y.shape}."
                )
        return tree_unflatten(self.pull(gs, retain_graph), self.inputs.spec)


def _stars(spec: TreeSpec) -> str:
    return str(tree_unflatten([_Star()] * spec.num_leaves, spec))


class _Star:
    def __repr__(self) -> str:
        return "*"


def _vjp(func: Callable[..., Any], argnums: Argnums, args: Any, kwargs: Any, has_aux: bool,
         who: str = "vjp(f, *primals)") -> tuple[_Pullback, Any]:  # fmt: skip
    """The pullback of func at args, and aux."""
    level = Level()
    inputs = _Inputs(level, argnums, args)
    with enable_grad():
        result, aux = _with_aux(func(*inputs.args, **kwargs), has_aux, who)
    level.close()
    ys, spec = _tensors(result, who)
    return _Pullback(level, inputs, ys, spec), _released_aux(level, aux) if has_aux else None


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """func(*primals), and the function from a cotangent of its output to a gradient of each primal.

    With has_aux, func returns (output, aux), and aux comes third.
    """

    def call(*args: Any) -> Any:
        return func(*args)

    pullback, aux = _vjp(call, tuple(range(len(primals))) or (0,), primals or (), {}, has_aux)
    output = tree_unflatten(map(pullback.level.release, pullback.ys), pullback.spec)
    return (output, pullback, aux) if has_aux else (output, pullback)


def _units(ts: Sequence[Tensor]) -> Any:
    """For each element of each tensor, zeros like all of them with a one there."""
    nothing = [zeros(t) for t in ts]
    for i, t in enumerate(ts):
        for k in range(t.numel()):
            one = t.new_zeros(t.numel())
            one[k] = 1
            yield [*nothing[:i], one.reshape(t.shape), *nothing[i + 1 :]]


def _check_chunk(chunk_size: int | None, who: str) -> None:
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"{who}: `chunk_size` should be greater than 0.")


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of func: one walk back for each element of its output.

    For an output and an argument that are single Tensors: (*output.shape, *argument.shape).  Else
    nested as the output and, within that, as the arguments.
    chunk_size: accepted; rows are computed one by one
    """
    _check_chunk(chunk_size, "jacrev")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        pullback, aux = _vjp(func, argnums, args, kwargs, has_aux)
        ys, xs = pullback.ys, pullback.inputs.primals
        rows = iter([pullback.pull(unit) for unit in _units(ys)])
        blocks = []
        for y in ys:
            mine = [next(rows) for _ in range(y.numel())]
            row = [
                stack([gs[j] for gs in mine]).reshape(*y.shape, *x.shape) if mine
                else x.new_zeros((*y.shape, *x.shape))
                for j, x in enumerate(xs)
            ]  # fmt: skip
            blocks.append(tree_unflatten(row, pullback.inputs.spec))
        result = tree_unflatten(blocks, pullback.spec)
        return (result, aux) if has_aux else result

    return wrapper


# ---- forwards --------------------------------------------------------------------------------


def _linearized(func: Callable[..., Any], argnums: Argnums, args: Any, kwargs: Any, has_aux: bool,
                who: str) -> tuple[_Pullback, Pushforward, Any]:  # fmt: skip
    level = Level()
    inputs = _Inputs(level, argnums, args)
    with enable_grad():
        result, aux = _with_aux(func(*inputs.args, **kwargs), has_aux, who)
        ys, spec = _tensors(result, who)
        push = Pushforward(level, ys, inputs.tensors)
    level.close()
    return _Pullback(level, inputs, ys, spec), push, _released_aux(level, aux) if has_aux else None


def jvp(
    func: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """func(*primals), and J v: the derivative of the output in the direction `tangents`.

    tangents: nested as primals
    strict: RuntimeError for an output that does not depend on the primals, instead of zeros
    """
    who = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{who}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
        )
    spec, (vs, tangent_spec) = tree_flatten(primals)[1], tree_flatten(tangents)
    if spec != tangent_spec:
        raise RuntimeError(
            f"{who}: Expected primals and tangents to have the same python structure. For example, if "
            f"primals is a tuple of 3 tensors, tangents also must be. Got primals with structure "
            f"{spec} and tangents with structure {tangent_spec}"
        )
    if not vs:
        raise RuntimeError(f"{who}: Expected primals to contain at least one Tensor.")
    at = tuple(range(len(primals)))
    made, push, aux = _linearized(func, at, primals, {}, has_aux, who)
    for x, v in zip(made.inputs.primals, vs):
        _check_tangent(x, v)
    if strict and not all(y._rg for y in made.ys):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
            "This is not allowed with strict=True."
        )
    output = tree_unflatten(map(made.level.release, made.ys), made.spec)
    tangent = tree_unflatten(push([v.to(x.dtype) for x, v in zip(made.inputs.primals, vs)],
                                  keep=False), made.spec)  # fmt: skip
    return (output, tangent, aux) if has_aux else (output, tangent)


def _check_tangent(x: Tensor, v: Any) -> None:
    if v.shape != x.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(x.shape)} while the given "
            f"forward gradient is of size {list(v.shape)}."
        )


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """func(*primals), and the function from tangents, as many as primals, to J v.

    func is called once, here; each call of the function costs one walk back.
    """
    at = tuple(range(len(primals)))
    made, push, _ = _linearized(func, at, primals, {}, False, "linearize(f, *primals)")
    spec, xs = made.inputs.spec, made.inputs.primals

    def jvp_fn(*tangents: Any) -> Any:
        vs, given = tree_flatten(tangents)
        if given != spec:
            raise RuntimeError(
                f"Expected the tangents {given} to have the same argspec as the primals {spec}"
            )
        for i, (x, v) in enumerate(zip(xs, vs)):
            for what, a, b in (("shape", v.shape, x.shape), ("dtype", v.dtype, x.dtype)):
                if a != b:
                    raise RuntimeError(
                        f"tangent:{i} with {what} {a} in flattened pytree doesn't match the {what} "
                        f"{b} of the corresponding primal."
                    )
        return tree_unflatten(push(vs), made.spec)

    return tree_unflatten(map(made.level.release, made.ys), made.spec), jvp_fn


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """A function that returns the Jacobian of func, nested as jacrev's: one walk for each element of
    the arguments.

    randomness: accepted; func is called once, so there is one draw of random numbers
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        made, push, aux = _linearized(
            func, argnums, args, kwargs, has_aux, "jvp(f, primals, tangents)"
        )
        xs = made.inputs.primals
        columns = iter([push(unit) for unit in _units(xs)])
        blocks: list[list[Tensor]] = [[] for _ in made.ys]
        for x in xs:
            mine = [next(columns) for _ in range(x.numel())]
            for i, y in enumerate(made.ys):
                blocks[i].append(
                    stack([ts[i] for ts in mine], -1).reshape(*y.shape, *x.shape) if mine
                    else y.new_zeros((*y.shape, *x.shape))
                )  # fmt: skip
        nested = [tree_unflatten(row, made.inputs.spec) for row in blocks]
        result = tree_unflatten(nested, made.spec)
        return (result, aux) if has_aux else result

    return wrapper


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns the second derivatives of func: the Jacobian of its Jacobian."""
    return jacfwd(jacrev(func, argnums), argnums)
