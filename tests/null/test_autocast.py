"""autocast: what it casts, what it leaves alone, and that code outside it is as it was written."""

import threading
import warnings

import pytest
import torch

import dtorch
from dtorch import nn
from dtorch.amp import casts, policies
from dtorch.core import detours
from dtorch.core.ops.linalg import matmul
from dtorch.nn import functional as F
from dtorch.utils.checkpoint import checkpoint

bf16, f32 = "bfloat16", "float32"


def name(dtype):
    return str(dtype).split(".")[-1]


def both(*shapes, dtype=f32, grad=False):
    """Tensors of the same values in torch and in dtorch."""
    theirs = [torch.rand(s, generator=torch.Generator().manual_seed(i)) + 0.5
              for i, s in enumerate(shapes)]  # fmt: skip
    theirs = [t.to(getattr(torch, dtype)).requires_grad_(grad) for t in theirs]
    ours = [dtorch.from_numpy(t.detach().float().numpy().copy()).to(getattr(dtorch, dtype))
            for t in theirs]  # fmt: skip
    return theirs, [t.requires_grad_(grad) for t in ours]


# A call for each function on the CPU's lists, as f(torch or dtorch, its functional, its tensors).
CALLS = {
    "conv1d": (lambda T, F, x, w: F.conv1d(x, w), (2, 3, 5), (4, 3, 2)),
    "conv2d": (lambda T, F, x, w: F.conv2d(x, w, padding=1), (2, 3, 5, 5), (4, 3, 2, 2)),
    "conv3d": (lambda T, F, x, w: F.conv3d(x, w), (1, 2, 3, 3, 3), (2, 2, 2, 2, 2)),
    "conv_tbc": (lambda T, F, x, w, b: T.conv_tbc(x, w, b), (5, 2, 3), (2, 3, 4), (4,)),
    "conv_transpose1d": (lambda T, F, x, w: F.conv_transpose1d(x, w), (2, 3, 5), (3, 4, 2)),
    "conv_transpose2d": (lambda T, F, x, w: F.conv_transpose2d(x, w), (2, 3, 5, 5), (3, 4, 2, 2)),
    "linear": (lambda T, F, x, w, b: F.linear(x, w, b), (2, 3), (4, 3), (4,)),
    "matmul": (lambda T, F, x, y: x @ y, (2, 3, 4), (4, 5)),
    "mm": (lambda T, F, x, y: x.mm(y), (2, 3), (3, 4)),
    "bmm": (lambda T, F, x, y: T.bmm(x, y), (2, 3, 4), (2, 4, 5)),
    "addmm": (lambda T, F, a, x, y: T.addmm(a, x, y), (2, 4), (2, 3), (3, 4)),
    "addbmm": (lambda T, F, a, x, y: T.addbmm(a, x, y), (3, 5), (2, 3, 4), (2, 4, 5)),
    "baddbmm": (lambda T, F, a, x, y: T.baddbmm(a, x, y), (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "vecdot": (lambda T, F, x, y: T.linalg.vecdot(x, y), (2, 3), (2, 3)),
    "multi_dot": (lambda T, F, x, y, z: T.linalg.multi_dot([x, y, z]), (2, 3), (3, 4), (4, 2)),
    "einsum": (lambda T, F, x, y: T.einsum("ij,jk->ik", x, y), (2, 3), (3, 4)),
    "einsum of one": (lambda T, F, x: T.einsum("ij->i", x), (2, 3)),
    "einsum outer": (lambda T, F, x, y: T.einsum("i,j", x, y), (2,), (3,)),
    "prelu": (lambda T, F, x, w: F.prelu(x, w), (2, 3), (3,)),
    "attention": (
        lambda T, F, q, k, v: F.scaled_dot_product_attention(q, k, v),
        (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4),
    ),
    "prod": (lambda T, F, x: x.prod(), (3, 4)),
    "trace": (lambda T, F, x: x.trace(), (3, 3)),
    "quantile": (lambda T, F, x: T.quantile(x.float(), 0.5), (5,)),
    "cdist": (lambda T, F, x, y: T.cdist(x, y), (3, 2), (4, 2)),
    "pad reflect": (lambda T, F, x: F.pad(x, (1, 1), mode="reflect"), (1, 2, 4)),
    "pad constant": (lambda T, F, x: F.pad(x, (1, 1)), (1, 2, 4)),
    "avg_pool3d": (lambda T, F, x: F.avg_pool3d(x, 2), (1, 1, 4, 4, 4)),
    "max_pool3d": (lambda T, F, x: F.max_pool3d(x, 2), (1, 1, 4, 4, 4)),
    "grid_sample": (
        lambda T, F, x, g: F.grid_sample(x, g - 1, align_corners=False),
        (1, 1, 4, 4), (1, 2, 2, 2),
    ),
    "mse_loss": (lambda T, F, x, y: F.mse_loss(x, y), (3, 4), (3, 4)),
    "l1_loss": (lambda T, F, x, y: F.l1_loss(x, y), (3, 4), (3, 4)),
    "smooth_l1_loss": (lambda T, F, x, y: F.smooth_l1_loss(x, y), (3, 4), (3, 4)),
    "kl_div": (lambda T, F, x, y: F.kl_div(x, y, reduction="sum"), (3, 4), (3, 4)),
    "cross_entropy": (
        lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, 2])), (3, 4),
    ),
    "bce_with_logits": (
        lambda T, F, x, y: F.binary_cross_entropy_with_logits(x, y), (3, 4), (3, 4),
    ),
    "rfft": (lambda T, F, x: T.fft.rfft(x), (8,)),
    "inv": (lambda T, F, x: T.linalg.inv(x + 3 * T.eye(3)), (3, 3)),
    "cat": (lambda T, F, x, y: T.cat([x, y.float()]), (3, 4), (3, 4)),
    "stack": (lambda T, F, x, y: T.stack([x, y.float()]), (3, 4), (3, 4)),
    "bilinear": (lambda T, F, x, y, w: F.bilinear(x, y, w), (2, 3), (2, 4), (5, 3, 4)),
    "softmax": (lambda T, F, x: T.softmax(x, -1), (3, 4)),
    "layer_norm": (lambda T, F, x: F.layer_norm(x, (4,)), (3, 4)),
    "exp": (lambda T, F, x: x.exp(), (3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [f32, bf16])
@pytest.mark.parametrize("call", CALLS)
def test_dtypes_and_values_are_those_of_torch(call, dtype):
    f, *shapes = CALLS[call]
    theirs, ours = both(*shapes, dtype=dtype, grad=True)
    with torch.autocast("cpu"):
        expected = f(torch, torch.nn.functional, *theirs)
    with dtorch.autocast("cpu"):
        got = f(dtorch, F, *ours)
    assert name(got.dtype) == name(expected.dtype)
    if expected.is_complex():
        expected, got = expected.real, got.real
    torch.testing.assert_close(
        torch.from_numpy(got.detach().float().numpy()), expected.detach().float(),
        rtol=3e-2, atol=3e-2,
    )  # fmt: skip
    expected.float().sum().backward()
    got.float().sum().backward()
    assert [name(t.grad.dtype) for t in ours] == [name(t.grad.dtype) for t in theirs]


def test_the_lists_hold_names_that_exist():
    for table in (policies.LOWER, policies.CONTRACTION, policies.FLOAT32, policies.PADDING,
                  policies.WIDEST, policies.REFUSED):  # fmt: skip
        for names in table.values():
            for listed in names:
                assert casts.named(listed) or hasattr(dtorch.Tensor, listed), listed


def test_a_small_network_trains_as_under_torch():
    def net(nn):
        return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4))

    theirs, ours = net(torch.nn), net(nn)
    ours.load_state_dict({k: dtorch.from_numpy(v.numpy()).clone()
                          for k, v in theirs.state_dict().items()})  # fmt: skip
    (x,), (x_ours,) = both((32, 8))
    losses = []
    for T, model, data in ((torch, theirs, x), (dtorch, ours, x_ours)):
        optimizer = T.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            with T.autocast("cpu", dtype=T.bfloat16):
                y = model(data)
                loss = T.nn.functional.mse_loss(y, T.ones_like(y))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert name(y.dtype) == bf16
        assert name(loss.dtype) == f32
        assert {name(p.grad.dtype) for p in model.parameters()} == {f32}
    assert losses[5:] == pytest.approx(losses[:5], rel=1e-2)


@pytest.mark.parametrize(("kind", "dtype"), [("LSTM", bf16), ("RNN", bf16), ("GRU", f32)])
def test_recurrent_layers(kind, dtype):
    layer = getattr(nn, kind)(3, 4)
    with dtorch.autocast("cpu"):
        assert name(layer(dtorch.ones(2, 1, 3))[0].dtype) == dtype


def test_float64_integers_out_and_in_place_are_left_alone():
    x = dtorch.rand(3, 3)
    with dtorch.autocast("cpu"):
        assert (x.double() @ x.double()).dtype is dtorch.float64
        assert (x.long() @ x.long()).dtype is dtorch.int64
        out = dtorch.empty(3, 3)
        assert dtorch.mm(x, x, out=out) is out
        y = dtorch.zeros(3, 3).addmm_(x, x)
    expected = (x @ x).tolist()
    assert out.tolist() == expected
    assert y.tolist() == expected


def test_a_weight_is_cast_once():
    x, w = dtorch.rand(2, 3), nn.Parameter(dtorch.rand(3, 3))

    def casts_of(**options):
        with dtorch.autocast("cpu", **options):
            y, z = x @ w, x @ w
            with dtorch.autocast("cpu", enabled=False):
                assert (x @ w).dtype is dtorch.float32
            again = x @ w
        return [t.grad_fn.next_functions[1][0] for t in (y, z, again)]

    first, second, third = casts_of()
    assert first is second is third
    assert casts_of()[0] is not first
    first, second, _ = casts_of(cache_enabled=False)
    assert first is not second


def test_the_cast_of_a_weight_under_no_grad_is_not_kept():
    x, w = dtorch.rand(2, 3), nn.Parameter(dtorch.rand(3, 3))
    with dtorch.autocast("cpu"):
        with dtorch.no_grad():
            assert not (x @ w).requires_grad
        assert (x @ w).requires_grad


def test_outside_functions_have_their_own_code():
    x = dtorch.rand(2, 2)
    with dtorch.autocast("cpu"):
        assert matmul(x, x).dtype is dtorch.bfloat16  # whoever holds the function
        assert matmul.__code__.co_name == "detour"
    assert matmul(x, x).dtype is dtorch.float32
    assert matmul.__code__.co_name == "matmul"
    assert x.exp().dtype is dtorch.float32


def test_other_threads_are_left_alone():
    x, seen = dtorch.rand(2, 2), []
    with dtorch.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append((x @ x).dtype))
        thread.start()
        thread.join()
    assert seen == [dtorch.float32]


def test_decorator_nesting_and_state():
    @dtorch.autocast("cpu", dtype=dtorch.float16)
    def product(x):
        assert dtorch.is_autocast_enabled("cpu")
        assert not dtorch.is_autocast_enabled("cuda")
        return x @ x

    x = dtorch.rand(2, 2)
    assert product(x).dtype is dtorch.float16
    assert dtorch.get_autocast_dtype("cpu") is dtorch.bfloat16
    with dtorch.autocast("cpu"):
        assert product(x).dtype is dtorch.float16
        with dtorch.autocast("cpu", enabled=False):
            assert (x @ x).dtype is dtorch.float32
        assert (x @ x).dtype is dtorch.bfloat16
    assert not dtorch.is_autocast_enabled("cpu")


def test_switches():
    x = dtorch.rand(2, 2)
    dtorch.set_autocast_enabled("cpu", True)
    dtorch.set_autocast_dtype("cpu", dtorch.float16)
    assert (x @ x).dtype is dtorch.float16
    dtorch.set_autocast_enabled("cpu", False)
    dtorch.set_autocast_dtype("cpu", dtorch.bfloat16)
    assert (x @ x).dtype is dtorch.float32
    assert dtorch.get_autocast_dtype("cuda") is dtorch.float16
    with pytest.raises(RuntimeError, match="unknown device type"):
        dtorch.is_autocast_enabled("tpu")


def test_bad_arguments():
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        dtorch.autocast(1)
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'xyz'"):
        dtorch.autocast("xyz")
    with pytest.warns(UserWarning, match="In CPU autocast, but the target dtype is not supported"):
        context = dtorch.autocast("cpu", dtype=dtorch.float64)
    with context:
        assert not dtorch.is_autocast_enabled("cpu")
    with pytest.raises(TypeError, match="requires a callable, but got int"):
        dtorch.autocast("cpu")(3)
    if not dtorch.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"):
            dtorch.autocast("cuda")


def test_older_names_warn():
    with pytest.warns(FutureWarning, match="amp.autocast\\('cpu', args...\\)"):
        context = dtorch.cpu.amp.autocast()
    with context:
        assert (dtorch.ones(1, 1) @ dtorch.ones(1, 1)).dtype is dtorch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not dtorch.cuda.amp.autocast(enabled=False)._enabled
        assert not dtorch.cuda.amp.GradScaler(enabled=False).is_enabled()


def test_backward_inside_the_block_runs_rules_as_they_are():
    w = nn.Parameter(dtorch.rand(3, 3))
    x = dtorch.rand(2, 3, requires_grad=True)
    with dtorch.autocast("cpu"):
        (g,) = dtorch.autograd.grad((x @ w).float().pow(2).sum(), x, create_graph=True)
        assert g.dtype is dtorch.float32
        g.pow(2).sum().backward()
    assert w.grad.dtype is dtorch.float32


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_parts_are_computed_again_under_the_same_autocast(reentrant):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = dtorch.rand(5, 3, requires_grad=True)
    grads = []
    for call in (lambda f, x, **_: f(x), checkpoint):
        model.zero_grad()
        with dtorch.autocast("cpu"):
            y = call(model, x, use_reentrant=reentrant)
        y.float().sum().backward()
        grads.append([p.grad.tolist() for p in model.parameters()])
    assert grads[0] == grads[1]


def test_custom_functions():
    seen = []

    class Product(dtorch.autograd.Function):
        @staticmethod
        @dtorch.amp.custom_fwd(device_type="cpu")
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @dtorch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            seen.append(dtorch.is_autocast_enabled("cpu"))
            ga = g @ b.t()
            seen.append(ga.dtype)
            return ga.float(), (a.t() @ g).float()

    class Single(dtorch.autograd.Function):
        @staticmethod
        @dtorch.amp.custom_fwd(device_type="cpu", cast_inputs=dtorch.float32)
        def forward(ctx, a):
            seen.append((a.dtype, dtorch.is_autocast_enabled("cpu")))
            return a * 2

        @staticmethod
        @dtorch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            return g * 2

    a = dtorch.rand(2, 2, requires_grad=True)
    with dtorch.autocast("cpu"):
        y = Product.apply(a, a)
        z = Single.apply(y)
    assert y.dtype is dtorch.bfloat16
    assert seen == [(dtorch.float32, False)]
    z.sum().backward()
    assert seen[1:] == [True, dtorch.bfloat16]
    assert a.grad.dtype is dtorch.float32


def test_detours_nest():
    log = []

    def handler(label):
        def handle(plain, *args, **kwargs):
            log.append(label)
            return plain(*args, **kwargs)

        return handle

    one, two = detours.Detours({matmul: handler("one")}), detours.Detours({matmul: handler("two")})
    x = dtorch.ones(1, 1)
    one.switch(True)
    two.switch(True)
    assert matmul(x, other=x).item() == 1
    assert log == ["two", "one"]
    one.switch(False)
    matmul(x, x)
    assert log == ["two", "one", "two"]
    two.switch(False)
    matmul(x, x)
    assert log == ["two", "one", "two"]
    assert matmul.__code__.co_name == "matmul"
