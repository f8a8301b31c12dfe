"""Pooling."""

from tests.samples import arr, call, ints

LINE, IMAGE, VOLUME = arr(2, 2, 9), arr(2, 2, 7, 6), arr(1, 2, 5, 4, 5)
MAPS = arr(3, 7, 6)


def _each(name, *options):
    """The calls for inputs with 1, 2 and 3 spatial dimensions."""
    return {
        f"nn.functional.{name}{n}d": [call(x, **o) for o in options]
        for n, x in ((1, LINE), (2, IMAGE), (3, VOLUME))
    }


def _size(n, *more):
    return [call(x, 3, **kw) for x in ({1: LINE, 2: IMAGE, 3: VOLUME}[n],) for kw in ({}, *more)]


SAMPLES = (
    _each(
        "max_pool", {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "stride": 2, "dilation": 2, "ceil_mode": True},
        {"kernel_size": 3, "stride": 1, "return_indices": True},
    )
    | _each(
        "avg_pool", {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True,
         "count_include_pad": False},
    )
    | {f"nn.functional.adaptive_avg_pool{n}d": _size(n) for n in (1, 2, 3)}
    | {
        f"nn.functional.adaptive_max_pool{n}d": _size(n, {"return_indices": True})
        for n in (1, 2, 3)
    }
    | {
        "nn.functional.lp_pool1d": [call(arr(2, 2, 9, low=0.5), 2, 3)],
        "nn.functional.lp_pool2d": [call(arr(2, 2, 7, 6, low=0.5), 3, 2, 2)],
        "nn.functional.lp_pool3d": [call(arr(1, 2, 5, 4, 5, low=0.5), 2, 2)],
        "nn.functional.max_unpool1d": [call(arr(2, 2, 2), ints(2, 2, 2, high=1) + [0, 3], 2)],
        "nn.functional.max_unpool2d": [
            call(arr(1, 2, 2, 2), ints(1, 2, 2, 2, high=1) + [[0, 3], [9, 14]], 2)
        ],
        "nn.functional.max_unpool3d": [
            call(arr(1, 2, 1, 1, 1), ints(1, 2, 1, 1, 1, high=1) + 3, 2)
        ],
        "nn.functional.fractional_max_pool2d": [call(MAPS, 2, (3, 2), reference=False, grad=False)],
        "nn.functional.fractional_max_pool3d": [
            call(VOLUME, 2, (2, 3, 2), reference=False, grad=False)
        ],
    }
)  # fmt: skip
