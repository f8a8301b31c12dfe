"""gradcheck: are the gradients those that finite differences give?

Everything is compared as real numbers: a complex element counts as two, its real and imaginary
parts, which is what torch's convention for complex gradients (dL/d re + i dL/d im) stands for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from . import backend
from .autograd import grad
from .levels import Level, Pushforward
from .modes import enable_grad, no_grad
from .tensor import Tensor, wrap


class GradcheckError(RuntimeError):
    """The gradients of a function are not what finite differences say."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compare the Jacobians of func(*inputs) with central differences of step `eps`.

    inputs: Tensors (float64 or complex128, where they require gradients) and whatever else func takes
    atol, rtol: the tolerances; |analytical - numerical| <= atol + rtol * |numerical|
    nondet_tol: by how much two runs of the same backward may differ
    check_grad_dtypes: require that a gradient has the dtype of its input
    check_forward_ad, check_backward_ad: which derivatives to compare: J v, gradients
    fast_mode: compare u^T J v for one random pair of directions instead of the whole Jacobian J
    check_undefined_grad, check_batched_grad, check_batched_forward_grad, masked: torch's, accepted:
        each output is differentiated alone, so the others' gradients are undefined anyway; a batch
        of gradients is taken one by one; tensors are dense

    Returns True; where they differ, raises GradcheckError that names the input, the output and the
    entries, or returns False unless raise_exception.
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError(
            "Expected at least one of check_forward_ad or check_backward_ad to be True"
        )
    for name, needs, given, needed in (
        ("batched", "backward", check_batched_grad, check_backward_ad),
        ("batched_forward", "forward", check_batched_forward_grad, check_forward_ad),
    ):
        if given and not needed:
            raise AssertionError(
                f"Setting check_{name}_grad=True requires check_{needs}_ad to be True"
            )
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    try:
        _check_inputs(args)
        if check_backward_ad:
            _check(func, args, eps, atol, rtol, nondet_tol, check_grad_dtypes, fast_mode)
        if check_forward_ad:
            _check_forward(func, args, eps, atol, rtol, fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """gradcheck of the gradient of func with respect to its inputs and to `grad_outputs`.

    grad_outputs: a gradient for each differentiable output of func, of its shape (default: random)
    gen_non_contig_grad_outputs: let the random ones have gaps in memory
    check_fwd_over_rev, check_rev_over_rev: gradcheck's check_forward_ad and check_backward_ad
    """
    if check_undefined_grad and not check_rev_over_rev:
        raise AssertionError(
            "Setting check_undefined_grad=True requires check_rev_over_rev to be True"
        )
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if grad_outputs is None:
        rng = backend.cpu.random.default_rng(0)
        cotangents = [_random_like(y, rng) for y in _outputs(func, args)]
        if gen_non_contig_grad_outputs:
            cotangents = [_with_gaps(g) for g in cotangents]
    else:
        cotangents = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    wanted = [i for i, x in enumerate(args) if _requires(x)]

    def gradient(*given: Any) -> tuple[Tensor, ...]:
        xs, gs = given[: len(args)], given[len(args) :]
        with enable_grad():  # the numerical side runs under no_grad
            outputs = _outputs(func, xs)
        got = grad(outputs, [xs[i] for i in wanted], gs, create_graph=True, allow_unused=True)
        return tuple(g for g in got if g is not None)

    return gradcheck(
        gradient, (*args, *cotangents), eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev, fast_mode=fast_mode, masked=masked,
    )  # fmt: skip


def as_sparse_gradcheck(check: Callable[..., bool]) -> Callable[..., bool]:
    """gradcheck, or a function like it, for functions of sparse tensors too.

    The stored values of a sparse input are what is varied, and a sparse output is compared dense.
    """

    def checked(
        func: Callable[..., Any], inputs: Any, *, masked: bool = True, **options: Any
    ) -> bool:
        from .ops.sparse import assembled, coalesce, is_sparse

        args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        places: dict[int, Any] = {}
        for i, x in enumerate(args):
            if is_sparse(x) and x.requires_grad:
                x = coalesce(x.detach()) if x.is_sparse else x.detach()
                places[i], args[i] = x._a, wrap(x._a.values.copy()).requires_grad_()

        def of_values(*given: Any) -> tuple[Tensor, ...]:
            xs = [assembled(x, like=places[i]) if i in places else x for i, x in enumerate(given)]
            return tuple(y.to_dense() for y in _listed(func(*xs)))

        return check(of_values, args, **options)

    return checked


def _requires(x: Any) -> bool:
    return isinstance(x, Tensor) and x._rg


def _listed(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _outputs(func: Callable[..., Any], args: Any) -> list[Tensor]:
    """The outputs of func that have gradients."""
    return [y for y in _listed(func(*args)) if _requires(y)]


def _random_like(y: Tensor, rng: Any) -> Tensor:
    a = rng.uniform(-1, 1, y._a.shape)
    if y.dtype.is_complex:
        a = a + 1j * rng.uniform(-1, 1, y._a.shape)
    t = wrap(backend.of(y._a).asarray(a, dtype=y._a.dtype))
    t._rg = True
    return t


def _with_gaps(t: Tensor) -> Tensor:
    """The same values, where each has an unused neighbour in memory."""
    a = t._a
    wide = backend.of(a).zeros((*a.shape, 2), a.dtype)
    wide[..., 0] = a
    result = wrap(wide[..., 0])
    result._rg = True
    return result


def _check(func: Any, args: Any, eps: float, atol: float, rtol: float, nondet_tol: float,
           check_grad_dtypes: bool, fast: bool) -> None:  # fmt: skip
    outputs = _listed(func(*args))
    wanted = [i for i, x in enumerate(args) if _requires(x)]
    directions = {i: _directions(args[i]._a, fast) for i in wanted}
    numerical = {i: _numerical(func, args, i, directions[i], eps) for i in wanted}
    for j, y in enumerate(outputs):
        if not _requires(y):
            for i in wanted:
                if y.dtype.category >= 2 and numerical[i][j].any():
                    raise GradcheckError(
                        f"Numerical gradient for function expected to be zero: output {j} does not "
                        f"require grad but depends on input {i}"
                    )
            continue
        cotangents = _directions(y._a, fast)
        analytical = _analytical(y, [args[i] for i in wanted], cotangents, check_grad_dtypes)
        again = _analytical(y, [args[i] for i in wanted], cotangents, check_grad_dtypes)
        for i, a, b in zip(wanted, analytical, again):
            n = numerical[i][j]
            if fast and n.size and a.size:  # both as u^T J v: (1, 1)
                n, projected = n @ _rows(cotangents).T, _rows(directions[i]) @ a
            else:
                projected = a
            _compare(i, j, projected, n, atol, rtol)
            if a.size and abs(a - b).max() > nondet_tol:
                raise GradcheckError(
                    f"Backward is not reentrant, i.e., running backward with same input and "
                    f"grad_output multiple times gives different values (output {j}, input {i}), "
                    "although analytical gradient matches numerical gradient"
                )


def _check_forward(func: Any, args: Any, eps: float, atol: float, rtol: float, fast: bool) -> None:
    """Compare J v, for v along each input alone, with central differences."""
    for i, x in enumerate(args):
        if not _requires(x):
            continue
        directions = _directions(x._a, fast)
        numerical = _numerical(func, args, i, directions, eps)
        level = Level()
        with enable_grad():
            dual = level.enter(x)
            ys = _listed(func(*args[:i], dual, *args[i + 1 :]))
            push = Pushforward(level, ys, [dual])
        level.close()
        tangents = [push([wrap(d)]) for d in directions]
        for j, y in enumerate(ys):
            if tangents and y.dtype.category >= 2:
                rows = backend.cpu.stack([_reals(ts[j]._a) for ts in tangents])
                _compare(i, j, rows, numerical[j], atol, rtol)


def _directions(a: Any, fast: bool) -> list[Any]:
    """Arrays like `a` along which to differentiate: a random one, or each real and imaginary unit."""
    xp = backend.of(a)
    if not a.size:
        return []
    if fast:
        return [_random_like(wrap(a), backend.cpu.random.default_rng(1))._a]
    units = []
    for where in backend.cpu.ndindex(a.shape):
        for one in (1, 1j) if a.dtype.kind == "c" else (1,):
            unit = xp.zeros(a.shape, a.dtype)
            unit[where] = one
            units.append(unit)
    return units


def _rows(arrays: list[Any]) -> Any:
    return backend.cpu.stack([_reals(a) for a in arrays])


def _check_inputs(args: Any) -> None:
    if not any(map(_requires, args)):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have "
            "requires_grad=True."
        )
    for i, x in enumerate(args):
        if _requires(x):
            if x.dtype.name not in ("float64", "complex128"):
                warnings.warn(
                    f"Input #{i} requires gradient and is not a double precision floating point or "
                    "complex. This check will likely fail if all the inputs are not of double "
                    "precision floating point or complex.",
                    stacklevel=4,
                )
            if x._a.size and any(s == 0 and n > 1 for s, n in zip(x._a.strides, x._a.shape)):
                raise RuntimeError(
                    f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                    "that are non-overlapping to be able to compute the numerical gradients "
                    "correctly. You should call .contiguous on the input before passing it to "
                    "gradcheck."
                )


def _reals(a: Any) -> Any:
    """The elements of an array as real numbers on the CPU.  (n,) or, for complex, (2n,)"""
    flat = backend.of(a).to_numpy(a).reshape(-1)
    if flat.dtype.kind != "c":
        return flat.astype("float64")
    return flat.astype("complex128").view("float64")


def _numerical(func: Any, args: Any, which: int, directions: list[Any], eps: float) -> list[Any]:
    """For each output, its central differences.  (directions, reals of the output)"""
    x = args[which]._a
    before = x.copy()
    args = _detached(args)

    def at(step: Any) -> list[Any]:
        x[...] = before + step
        # copied: func may return its input, or a view of it
        ys = [_reals(y._a).copy() for y in _listed(func(*args))]
        x[...] = before
        return ys

    with no_grad():
        rows = [
            [(up - down) / (2 * eps) for up, down in zip(at(eps * d), at(-eps * d))]
            for d in directions
        ]
        outputs = at(0 * before)
    return [
        backend.cpu.stack([row[j] for row in rows]) if rows else backend.cpu.zeros((0, y.size))
        for j, y in enumerate(outputs)
    ]


def _detached(args: Any) -> tuple[Any, ...]:
    """The arguments on the same memory, requiring gradients as before (a func may ask for grads)."""
    result = []
    for x in args:
        if isinstance(x, Tensor):
            t = wrap(x._a)
            t._rg = x._rg
            result.append(t)
        else:
            result.append(x)
    return tuple(result)


def _analytical(
    y: Tensor, xs: list[Tensor], cotangents: list[Any], check_dtypes: bool
) -> list[Any]:
    """The gradients of y with respect to each of xs.  (reals of the input, cotangents)"""
    columns: list[list[Any]] = [[] for _ in xs]
    for g in cotangents:
        got = grad(y, xs, wrap(g), retain_graph=True, allow_unused=True)
        for column, x, gx in zip(columns, xs, got):
            column.append(_reals(_fitting(x, gx, check_dtypes)))
    return [
        backend.cpu.stack(column, axis=1) if column else backend.cpu.zeros((_reals(x._a).size, 0))
        for column, x in zip(columns, xs)
    ]


def _fitting(x: Tensor, g: Any, check_dtypes: bool) -> Any:
    """The array of a gradient, after its shape and dtype were looked at; zeros for None."""
    if g is None:
        return backend.of(x._a).zeros_like(x._a)
    if g._a.shape != x._a.shape:
        raise GradcheckError(
            f"grad is incorrect size: got {list(g.shape)}, expected {list(x.shape)}"
        )
    if check_dtypes and g._a.dtype != x._a.dtype:
        raise GradcheckError(f"grad has dtype {g.dtype}, expected {x.dtype}")
    return g._a


def _compare(i: int, j: int, a: Any, n: Any, atol: float, rtol: float) -> None:
    wrong = ~(abs(a - n) <= atol + rtol * abs(n))
    if wrong.any():
        row, column = (int(k[0]) for k in wrong.nonzero())
        raise GradcheckError(
            f"Jacobian mismatch for output {j} with respect to input {i},\nnumerical:{n}\n"
            f"analytical:{a}\nfirst at element {row} of the input and {column} of the output "
            f"(complex elements count twice): numerical {n[row, column]:.6g}, analytical "
            f"{a[row, column]:.6g}"
        )
