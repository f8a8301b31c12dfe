"""Special functions, by torch.special's names where they have one there."""

from tests.samples import arr, call, ints

X = arr(3, 4)
UNIT = arr(3, 4, low=0.05, high=0.95)
POSITIVE = arr(3, 4, low=0.3, high=3.0)
N = ints(3, high=4)
DEGREES = ints(3, 1, high=9)

_anywhere = ("erfc", "erfcx", "ndtr", "log_ndtr", "sinc", "i0", "i0e", "i1", "i1e", "digamma",
             "gammaln")  # fmt: skip
_bessel = ("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1")  # torch's are right to 1e-7 only
_ours = ("spherical_bessel_j0", "airy_ai", "modified_bessel_k0", "modified_bessel_k1",
         "scaled_modified_bessel_k0", "scaled_modified_bessel_k1")  # fmt: skip
_chebyshev = [
    f"{kind}chebyshev_polynomial_{letter}" for kind in ("", "shifted_") for letter in "tuvw"
]
_polynomials = [*_chebyshev, "hermite_polynomial_h", "hermite_polynomial_he",
                "laguerre_polynomial_l", "legendre_polynomial_p"]  # fmt: skip

SAMPLES = {
    **{f"special.{name}": [call(X), call(N)] for name in _anywhere},
    **{f"special.{name}": [call(POSITIVE, reference=False), call(N + 1)] for name in _bessel},
    **{f"special.{name}": [call(POSITIVE, derivative=False), call(N + 1)] for name in _ours},
    **{f"special.{name}": [call(X, DEGREES, derivative=False), call(0.5, N)]
       for name in _polynomials},
    "special.entr": [call(POSITIVE), call(N)],
    "special.erfinv": [call(2 * UNIT - 1), call(N * 0)],
    "special.ndtri": [call(UNIT), call(N)],
    "special.logit": [call(UNIT), call(UNIT, 0.2), call(X, grad=False), call(N, eps=0.1)],
    "special.polygamma": [call(0, POSITIVE), call(1, POSITIVE), call(3, POSITIVE), call(2, N + 1)],
    "special.multigammaln": [call(POSITIVE + 1, 1), call(POSITIVE + 1, 3), call(N + 3, 2)],
    "special.zeta": [call(3, POSITIVE), call(N + 2, POSITIVE[:, :3]), call(N + 2, 1.5)],
    "special.xlogy": [call(X, POSITIVE), call(POSITIVE, 2), call(2.0, POSITIVE), call(N, N)],
    "special.xlog1py": [call(X, POSITIVE), call(POSITIVE, 2), call(N, N)],
    "special.gammainc": [call(ints(3, 1, high=2) + 1, POSITIVE)],
    "special.gammaincc": [call(ints(3, 1, high=2) + 1, POSITIVE)],
    "special.softmax": [call(X, 0), call(N, 0, dtype=X.dtype)],
}  # fmt: skip
