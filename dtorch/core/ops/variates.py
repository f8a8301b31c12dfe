"""Random numbers that are differentiable by the parameters of their distribution.

A draw x of a distribution with the distribution function F(x; a) and the density p(x; a) moves, as
the parameter a does while F stays, by  dx/da = -(dF/da) / p: implicit reparameterization (Figurnov,
Mohamed, Mnih: Implicit reparameterization gradients, 2018; for Dirichlet numbers Jankowiak and
Obermeyer: Pathwise derivatives beyond the reparameterization trick, 2018).

dF/da is the integral of p times its score from the lower end to x, and minus the one from x to the
upper end.  The end that is away from the mode is taken: there the integrand decays, and the double
exponential formula x = exp(t - exp(-t)) integrates it (Takahasi and Mori, 1974).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .. import device as devices
from .. import dtype as dtypes
from ..backend import cpu
from ..op import op
from .create import made
from .random import check_floating, stream
from .reduce import _sum

_STEP = 0.1
# the nodes and weights of the integral over [0, inf) of a function that decays on the scale 1
_NODES = [
    (node, _STEP * node * (1 + math.exp(-t)))
    for t in (_STEP * k for k in range(-39, 51))
    for node in (math.exp(t - math.exp(-t)),)
]


def _integral(xp, function, scale):
    """The integral over [0, inf) of a function that decays on this scale (an array), elementwise."""
    total = xp.zeros_like(scale)
    for node, weight in _NODES:
        total += weight * function(node * scale)
    return total * scale


def _tiny(d):
    """The smallest positive number that a dtype has in full precision."""
    return dtypes.finfo(dtypes.of_numpy(d)).tiny


def _ends(d):
    """The least and the greatest number in (0, 1) that a dtype has."""
    return _tiny(d), 1 - dtypes.finfo(dtypes.of_numpy(d)).eps / 2


def _not_twice(name):
    def rule(g, y, *inputs):
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return rule


# ---- gamma ---------------------------------------------------------------------------------------


@op(saves="x", promote="result", kinds="f")
def _standard_gamma_grad(xp, alpha, x):
    """dx/dalpha of a draw x from the gamma distribution of shape alpha and rate 1."""
    a, z = alpha.astype("float64"), x.astype("float64")
    z = xp.maximum(z, _tiny(x.dtype))
    side = xp.where(z <= a, -1.0, 1.0)  # towards the end that is away from the mode
    score = xp.log(z) - xp.special("digamma")(a)

    def integrand(t):  # in u = log(s / z), s being the number drawn
        u = side * t
        return xp.exp(a * u - z * xp.expm1(u)) * (score + u)

    y = side * z * _integral(xp, integrand, 1 / (abs(a - z) + xp.sqrt(z)))
    return y.astype(x.dtype)


_standard_gamma_grad.vjp(_not_twice("self"), _not_twice("output"))


@op(saves="xy")
def _standard_gamma(xp, alpha, *, values):
    return values


_standard_gamma.vjp(lambda g, y, alpha, values: g * _standard_gamma_grad(alpha, y))


def _log_gamma(r, a):
    """The logarithms of gamma random numbers: by those of shape a + 1, so that none is -inf.

    Marsaglia and Tsang, "A simple method for generating gamma variables" (2000), section 6.
    """
    return cpu.log(r.standard_gamma(a + 1)) - r.standard_exponential(a.shape) / a


def _drawn(name, alpha, generator, draw):
    """draw(rng, alpha as float64 on the CPU), in a tensor like alpha."""
    check_floating(name, alpha._a.dtype, "fV")
    a = devices.move(alpha._a, "cpu").astype("float64")
    values = stream(generator).draw(lambda r: draw(r, a))
    return made(lambda xp, d: xp.asarray(values, dtype=d), like=alpha)


def standard_gamma(input, generator=None):
    """Gamma random numbers of rate 1, whose shapes are the input's elements; differentiable."""
    values = _drawn("_standard_gamma", input, generator, lambda r, a: cpu.exp(_log_gamma(r, a)))._a
    return _standard_gamma.fn(input, values=values.clip(_tiny(values.dtype)))


# ---- Dirichlet -----------------------------------------------------------------------------------


@op(saves="x", promote="result", kinds="f")
def _dirichlet_grad(xp, x, alpha, total):
    """dx/dalpha / (1 - x) of a draw x from the beta distribution with (alpha, total - alpha)."""
    z = xp.clip(x, *_ends(x.dtype)).astype("float64")
    a, n = alpha.astype("float64"), total.astype("float64")
    b = n - a
    left = z * n <= a  # below the mean
    digamma = xp.special("digamma")
    constant = digamma(n) - digamma(a)
    # near is the distance to the end that is integrated to, and its exponent; far the other
    near, far = xp.where(left, z, 1 - z), xp.where(left, 1 - z, z)
    p, q = xp.where(left, a, b), xp.where(left, b, a)

    def integrand(t):  # in t = log(near / s), s being the distance to that end
        s = near * xp.exp(-t)
        ratio = xp.log1p(-near * xp.expm1(-t) / far)  # of the distances to the other end
        log_x = xp.where(left, xp.log(z) - t, xp.log1p(-s))
        return xp.exp(-p * t + (q - 1) * ratio) * (log_x + constant)

    rate = abs(p - near * n) / far
    y = _integral(xp, integrand, 1 / (rate + xp.sqrt(n * near / far)))
    return (xp.where(left, -near, near) * y / (1 - z)).astype(x.dtype)


_dirichlet_grad.vjp(*[_not_twice(name) for name in ("x", "alpha", "total")])


@op(saves="xy")
def _sample_dirichlet(xp, alpha, *, values):
    return values


def _dirichlet_vjp(g, y, alpha, values):
    along = _sum(y * g, dims=(-1,), keepdim=True)
    return _dirichlet_grad(y, alpha, _sum(alpha, dims=(-1,), keepdim=True)) * (g - along)


_sample_dirichlet.vjp(_dirichlet_vjp)


def sample_dirichlet(input, generator=None):
    """Dirichlet random vectors along the last dimension, with these concentrations; differentiable."""

    def draw(r, a):  # gamma numbers over their sum
        logs = _log_gamma(r, a)
        x = cpu.exp(logs - logs.max(-1, keepdims=True))
        return x / x.sum(-1, keepdims=True)

    values = _drawn("dirichlet", input, generator, draw)._a
    return _sample_dirichlet.fn(input, values=values.clip(*_ends(values.dtype)))


# ---- von Mises -----------------------------------------------------------------------------------


def von_mises(loc, concentration, generator=None):
    """Angles in [-pi, pi) about loc, of a concentration of the same shape; no gradient."""
    kappa = devices.move(concentration._a, "cpu").astype("float64")

    def draw(r, a):
        return (r.vonmises(a, kappa) + math.pi) % (2 * math.pi) - math.pi

    return _drawn("von_mises", loc, generator, draw)


FUNCTIONS = {
    "_standard_gamma": standard_gamma, "_standard_gamma_grad": _standard_gamma_grad.fn,
    "_sample_dirichlet": sample_dirichlet, "_dirichlet_grad": _dirichlet_grad.fn,
}  # fmt: skip
