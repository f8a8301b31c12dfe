"""Making tensors."""

from tests.samples import arr, call, ints

X = arr(3, 4)
_sizes = [call(2, 3), call((2, 3)), call(0), call(size=(2,))]
_like = [call(X), call(X.T), call(ints(3, high=4))]

SAMPLES = {
    "tensor": [call([[1.0, 2.0], [3.0, 4.0]]), call([1, 2]), call([True, False]), call(2.5),
              call([])],
    "as_tensor": [call([1.0, 2.0]), call([[1, 2]])],
    "zeros": _sizes, "ones": _sizes,
    "empty": [call(0), call((2, 0))],
    "full": [call((2, 3), 1.5), call((2,), 3), call((), True)],
    "scalar_tensor": [call(2.5)],
    "zeros_like": _like, "ones_like": _like,
    "full_like": [call(X, 2.5), call(ints(3, high=4), 2)],
    "Tensor.new_zeros": [call(X, (2, 3), grad=False)],
    "Tensor.new_ones": [call(X, (2, 3), grad=False)],
    "Tensor.new_full": [call(X, (2, 3), 2.5, grad=False)],
    "Tensor.new_tensor": [call(X, [1, 2], grad=False)],
    "arange": [call(5), call(1, 4), call(0.0, 1.0, 0.3), call(5, 0, -2), call(2.5)],
    "linspace": [call(0, 1, 5), call(-2.0, 3.0, 1), call(0, 1, 0)],
    "logspace": [call(0, 2, 5), call(0, 3, 4, base=2.0)],
    "eye": [call(3), call(2, 4), call(3, 0)],
    "tril_indices": [call(3, 4), call(3, 4, -1)],
    "triu_indices": [call(3, 4), call(3, 4, 1)],
}  # fmt: skip
