"""Sparse tensors beside torch's: parts, text, errors, arithmetic, gradients, optimizers."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import dtorch

SAMPLE = [[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3)
W = np.arange(12.0).reshape(4, 3) / 7


def x(L: Any) -> Any:
    return L.sparse_coo_tensor(*SAMPLE)


def csr(L: Any) -> Any:
    return x(L).to_sparse_csr()


def outcome(f: Callable[[Any], Any], library: Any) -> str:
    """repr of what f returns, or its error, without the library's name."""
    with warnings.catch_warnings():
        if library is torch:
            warnings.simplefilter("ignore")
        try:
            return repr(f(library)).replace("dtorch", "torch")
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            return f"{type(error).__name__}: {error}"


def as_torch(f: Callable[[Any], Any]) -> None:
    assert outcome(f, dtorch) == outcome(f, torch)


SAME = {
    # text
    "coo": x,
    "csr": csr,
    "csc": lambda L: x(L).to_sparse_csc(),
    "bsr": lambda L: x(L).to_sparse_bsr((1, 3)),
    "empty": lambda L: L.sparse_coo_tensor((2, 3)),
    "hybrid": lambda L: L.sparse_coo_tensor([[1]], L.ones(1, 2, 3).double()),
    "requires_grad": lambda L: x(L).requires_grad_(),
    "shape": lambda L: (
        x(L).shape,
        x(L).ndim,
        len(x(L)),
        x(L).numel(),
        x(L).layout,
        x(L).is_sparse,
    ),
    "dims": lambda L: (x(L).sparse_dim(), x(L).dense_dim(), L.ones(2, 2).dense_dim()),
    # parts
    "indices": lambda L: x(L).coalesce().indices(),
    "parts": lambda L: (csr(L).crow_indices(), csr(L).col_indices(), csr(L).values()),
    "csr to_sparse": lambda L: (csr(L).to_sparse(), L.eye(4).to_sparse_bsr((2, 2)).to_sparse_coo()),
    "like": lambda L: (L.zeros_like(x(L), layout=L.strided), L.ones_like(x(L), layout=L.strided)),
    "alpha": lambda L: (x(L).add(x(L), alpha=2), L.ones(2, 3).sub(x(L)), L.tensor(3.0).to_sparse()),
    "duplicates": lambda L: L.sparse_coo_tensor([[1, 0, 1]], [1.0, 2.0, 3.0], (2,)).coalesce(),
    "blocks": lambda L: L.arange(16.0).reshape(4, 4).to_sparse_bsr((2, 2)).values(),
    "batch": lambda L: L.eye(4).expand(2, 4, 4).to_sparse_csr().to_dense(),
    "dense dimension": lambda L: L.ones(3, 4, 2).to_sparse_csr(dense_dim=1).values().shape,
    "sparse dimension": lambda L: L.ones(3, 4, 2).to_sparse(1),
    "mask": lambda L: L.arange(6.0).reshape(2, 3).sparse_mask(x(L).coalesce()),
    "resize": lambda L: x(L).sparse_resize_((4, 5), 2, 0),
    "clear": lambda L: x(L).sparse_resize_and_clear_((4, 5), 1, 1),
    # arithmetic
    "add": lambda L: x(L) + x(L),
    "add dense": lambda L: L.ones(2, 3) + x(L),
    "add in place": lambda L: (L.ones(2, 3).add_(x(L)), x(L).add_(x(L)), x(L).mul_(2)),
    "mul": lambda L: (x(L) * x(L), x(L) * L.ones(3), x(L) * 2, x(L) / 2, x(L) ** 2),
    "unary": lambda L: (-x(L), abs(x(L)), x(L).sqrt(), x(L).isnan(), csr(L).sin(), x(L).round()),
    "more unary": lambda L: ((x(L) / 9).erfinv(), x(L).nan_to_num(), x(L).frac(), x(L).log1p()),
    "csr arithmetic": lambda L: (csr(L) + csr(L), csr(L) * 2, csr(L).t(), csr(L).sum()),
    "sum": lambda L: (x(L).sum(), x(L).sum(0), x(L).sum(1, keepdim=True), x(L).int().sum(0)),
    "integers": lambda L: x(L).int() + x(L).double(),
    "transpose": lambda L: x(L).t(),
    "select": lambda L: (x(L)[0], x(L)[0, 2], list(x(L))),
    "index_select": lambda L: x(L).index_select(1, L.tensor([2, 2, 0])).to_dense(),
    "cat": lambda L: (L.cat([x(L), x(L)]), L.stack([x(L), x(L)]).shape, x(L).unsqueeze(0)),
    "norm": lambda L: (x(L).norm(), x(L).any()),
    "zeros": lambda L: (L.zeros_like(x(L)), L.zeros(2, 3, layout=L.sparse_coo), x(L).zero_()),
    "cast": lambda L: (x(L).double(), x(L).bool(), x(L).to(L.complex64), x(L).clone(), x(L).data),
    "copies": lambda L: (copy.deepcopy(x(L).requires_grad_()), pickle.loads(pickle.dumps(x(L)))),
    # products
    "mm": lambda L: (x(L) @ L.ones(3, 2), L.ones(2, 2) @ x(L), x(L) @ L.ones(3), x(L) @ x(L).t()),
    "addmm": lambda L: L.sparse.addmm(L.ones(2, 2), x(L), L.ones(3, 2), beta=2, alpha=3),
    "hspmm": lambda L: L.hspmm(x(L), L.ones(3, 2)),
    "softmax": lambda L: (L.sparse.softmax(x(L), 1), L.sparse.log_softmax(x(L), 0)),
    "spdiags": lambda L: L.sparse.spdiags(L.arange(6.0).view(2, 3), L.tensor([0, 1]), (3, 4)),
    "half": lambda L: L.sparse.mm(csr(L).bfloat16(), L.ones(3, 2).bfloat16(), "sum"),
    # errors
    "nnz": lambda L: L.sparse_coo_tensor([[0, 1]], L.ones(3), (2,)),
    "size": lambda L: L.sparse_coo_tensor([[0, 1], [0, 1]], L.ones(2), (2, 3, 4)),
    "outside": lambda L: L.sparse_coo_tensor([[0, 5]], L.ones(2), (2,), check_invariants=True),
    "negative": lambda L: L.sparse_coo_tensor([[0, -1]], L.ones(2), (2,), check_invariants=True),
    "columns": lambda L: L.sparse_csr_tensor([0, 1], [5], [1.0], (1, 3), check_invariants=True),
    "order": lambda L: L.sparse_csr_tensor([0, 2], [1, 0], [1.0, 2.0], check_invariants=True),
    "uncoalesced": lambda L: x(L).indices(),
    "no coordinates": lambda L: L.ones(2).indices(),
    "no rows": lambda L: x(L).crow_indices(),
    "not compressed": lambda L: L.ones(2).values(),
    "sparse_dim": lambda L: L.ones(2, 2).to_sparse(3),
    "zeroth power": lambda L: x(L) ** 0,
    "divisor": lambda L: x(L) / L.ones(2, 3),
    "sizes": lambda L: x(L) + x(L).t(),
    "index": lambda L: x(L)[5],
    "offsets": lambda L: L.sparse.spdiags(L.ones(2, 3), L.tensor([0, 0]), (3, 4)),
}


@pytest.mark.parametrize("f", SAME.values(), ids=SAME)
def test_as_torch(f: Callable[[Any], Any]) -> None:
    as_torch(f)


WAYS_OUT = {
    "exp": lambda L: x(L).exp(), "mean": lambda L: x(L).mean(), "reshape": lambda L: x(L).reshape(6),
    "numpy": lambda L: x(L).numpy(), "eq": lambda L: x(L) == x(L), "tolist": lambda L: x(L).tolist(),
    "plus dense": lambda L: x(L) + L.ones(2, 3), "csr": lambda L: csr(L).exp(),
    "conv": lambda L: L.nn.functional.conv1d(x(L), L.ones(2, 2, 1)),
}  # fmt: skip


@pytest.mark.parametrize("f", WAYS_OUT.values(), ids=WAYS_OUT)
def test_what_is_not_implemented_names_to_dense(f: Callable[[Any], Any]) -> None:
    with pytest.raises((NotImplementedError, RuntimeError, TypeError), match=r"to_dense\(\)"):
        f(dtorch)


def test_indices_outside_are_always_refused() -> None:
    with pytest.raises(RuntimeError, match="size is inconsistent with indices"):
        dtorch.sparse_coo_tensor([[0, 5]], dtorch.ones(2), (2,))
    with pytest.raises(RuntimeError, match="col_indices < ncols"):
        dtorch.sparse_csr_tensor([0, 1], [5], [1.0], (1, 3))


def test_invariants_are_checked_where_asked_for() -> None:
    check = dtorch.sparse.check_sparse_tensor_invariants
    dtorch.sparse_csr_tensor([0, 2], [1, 0], [1.0, 2.0])
    with check(), pytest.raises(RuntimeError, match="sorted and distinct"):
        dtorch.sparse_csr_tensor([0, 2], [1, 0], [1.0, 2.0])
    assert not check.is_enabled()


# ---- gradients -----------------------------------------------------------------------------------


def squared(L: Any, y: Any) -> None:
    y = y.to_dense() if y.layout is not L.strided else y
    (y * y).sum().backward()


def product(L: Any, make: Any, *args: Any) -> Any:
    a, b = make(L).requires_grad_(), L.arange(6.0).reshape(3, 2).requires_grad_()
    squared(L, L.sparse.mm(a, b, *args))
    return a.grad, b.grad


def of_leaf(make: Any, f: Any) -> Callable[[Any], Any]:
    def run(L: Any) -> Any:
        a = make(L)
        a = (a.coalesce() if a.is_sparse else a).requires_grad_()
        squared(L, f(L, a))
        return a.grad.coalesce() if a.grad.is_sparse else a.grad

    return run


def of_values(L: Any) -> Any:
    v = L.tensor(SAMPLE[1], requires_grad=True)
    squared(L, L.sparse_coo_tensor(SAMPLE[0], v, SAMPLE[2]))
    return v.grad


GRADIENTS = {
    "values": of_values,
    "to_dense": of_leaf(x, lambda L, a: a),
    "csr to_dense": of_leaf(csr, lambda L, a: a),
    "softmax": of_leaf(x, lambda L, a: L.sparse.softmax(a, 1)),
    "sum": of_leaf(x, lambda L, a: L.sparse.sum(a, 0)),
    "mul": of_leaf(x, lambda L, a: a * L.arange(6.0).reshape(2, 3) + a),
    "mm": lambda L: product(L, x),
    "csr mm": lambda L: product(L, csr),
    "amax": lambda L: product(L, csr, "amax"),
    "mean": lambda L: product(L, csr, "mean"),
    "to_sparse": of_leaf(lambda L: L.eye(3), lambda L, a: a.to_sparse()),
}


@pytest.mark.parametrize("f", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_are_torchs(f: Callable[[Any], Any]) -> None:
    as_torch(f)


def test_gradcheck_varies_the_stored_values() -> None:
    check = dtorch.sparse.as_sparse_gradcheck(dtorch.autograd.gradcheck)
    a = x(dtorch).double().requires_grad_()
    b = dtorch.ones(3, 2, dtype=dtorch.float64, requires_grad=True)
    assert check(dtorch.sparse.mm, (a, b))
    assert check(lambda a: a.sin() * a, (a,))


def lookup(L: Any, bag: str | None = None, **options: Any) -> Any:
    w, i = L.nn.Parameter(L.from_numpy(W.copy())), L.tensor([[0, 2], [2, 3]])
    F = L.nn.functional
    if bag is None:
        y = F.embedding(i, w, sparse=True, **options)
    else:
        y = F.embedding_bag(i, w, mode=bag, sparse=True, **options)
    squared(L, y)
    return w.grad.is_sparse, w.grad.coalesce()


LOOKUPS = [{}, {"padding_idx": 2}, {"bag": "sum"}, {"bag": "mean", "padding_idx": 2},
           {"bag": "max"}, {"scale_grad_by_freq": True}]  # fmt: skip


@pytest.mark.parametrize("options", LOOKUPS, ids=str)
def test_an_embeddings_gradient_is_sparse(options: dict[str, Any]) -> None:
    as_torch(lambda L: lookup(L, **options))


def test_gather_has_a_sparse_gradient() -> None:
    def f(L: Any) -> Any:
        w = L.nn.Parameter(L.from_numpy(W.copy()))
        squared(L, w.gather(1, L.tensor([[0, 1], [2, 2], [0, 0], [1, 0]]), sparse_grad=True))
        return w.grad.is_sparse, w.grad.coalesce()

    as_torch(f)


def test_sparse_and_dense_gradients_add_up() -> None:
    def f(L: Any) -> Any:
        w, i = L.nn.Parameter(L.from_numpy(W.copy())), L.tensor([0, 1, 0])
        seen = []
        for sparse in (True, True, False, True):
            (L.nn.functional.embedding(i, w, sparse=sparse) ** 2).sum().backward()
            seen.append((w.grad.is_sparse, w.grad.to_dense().clone()))
        w.grad = None
        ((w * w).sum() + L.nn.functional.embedding(i, w, sparse=True).sum()).backward()
        return seen, w.grad

    as_torch(f)


OPTIMIZERS = {
    "SGD": lambda L, p: L.optim.SGD(p, lr=0.1),
    "momentum": lambda L, p: L.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adagrad": lambda L, p: L.optim.Adagrad(p, lr=0.1, lr_decay=0.1),
    "SparseAdam": lambda L, p: L.optim.SparseAdam(p, lr=0.1),
    "maximize": lambda L, p: L.optim.SparseAdam(p, lr=0.1, maximize=True),
    "weight_decay": lambda L, p: L.optim.Adagrad(p, weight_decay=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_take_sparse_gradients(make: Any) -> None:
    def f(L: Any) -> Any:
        w = L.nn.Parameter(L.from_numpy(W.copy()))
        o = make(L, [w])
        for step in range(3):
            o.zero_grad(set_to_none=step != 1)
            squared(L, L.nn.functional.embedding(L.tensor([0, 2 + step % 2, 0]), w, sparse=True))
            o.step()
        return w

    as_torch(f)


def test_optimizers_that_take_none_say_so_and_change_nothing() -> None:
    for make in (dtorch.optim.Adam, dtorch.optim.RMSprop):
        w = dtorch.nn.Parameter(dtorch.from_numpy(W.copy()))
        dtorch.nn.functional.embedding(dtorch.tensor([1]), w, sparse=True).sum().backward()
        o = make([w])
        with pytest.raises(RuntimeError, match="please consider SparseAdam"):
            o.step()
        assert not o.state
    p = dtorch.nn.Parameter(dtorch.ones(2))
    p.sum().backward()
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        dtorch.optim.SparseAdam([p]).step()


def test_files_hold_sparse_tensors_as_torchs_do() -> None:
    tensors = {"coo": x, "coalesced": lambda L: x(L).coalesce(), "csr": csr}
    for writer, reader in ((dtorch, dtorch), (dtorch, torch), (torch, dtorch)):
        f = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer.save({name: make(writer) for name, make in tensors.items()}, f)
            f.seek(0)
            got = reader.load(f)
            for name, make in tensors.items():
                assert repr(got[name]) == repr(make(reader))


def test_a_sparse_gradient_has_memory_of_its_own() -> None:
    layer = dtorch.nn.Embedding(4, 3, sparse=True)
    layer(dtorch.tensor([1, 2, 1])).sum().backward()  # sum's gradient is one element, repeated
    layer.weight.grad._values()[0] *= 2
    expected = [[0.0] * 3, [3.0] * 3, [1.0] * 3, [0.0] * 3]
    assert layer.weight.grad.to_dense().tolist() == expected
