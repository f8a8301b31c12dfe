"""The smoke test: one second, most of the core."""

import numpy as np

import dtorch


def test_a_small_network_learns_xor() -> None:
    x = dtorch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = dtorch.tensor([[0.0], [1.0], [1.0], [0.0]])
    rng = np.random.default_rng(0)
    shapes = [(2, 8), (8,), (8, 1), (1,)]
    arrays = [rng.normal(size=s).astype("float32") for s in shapes]
    params = [dtorch.tensor(a, requires_grad=True) for a in arrays]
    w1, b1, w2, b2 = params
    losses = []
    for _ in range(300):
        out = (x @ w1 + b1).tanh() @ w2 + b2
        loss = ((out - y) ** 2).mean()
        loss.backward()
        with dtorch.no_grad():
            for p in params:
                p -= 0.2 * p.grad
                p.grad = None
        losses.append(loss.item())
    assert losses[0] > 0.2
    assert losses[-1] < 0.01


def test_gradient_of_a_product_by_hand() -> None:
    a = dtorch.tensor([2.0, 3.0], requires_grad=True)
    b = dtorch.tensor([5.0, 7.0], requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.tolist() == [5.0, 7.0]
    assert b.grad.tolist() == [2.0, 3.0]
    assert repr(a * b) == "tensor([10., 21.], grad_fn=<MulBackward0>)"
