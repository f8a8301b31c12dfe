"""Random numbers with gradients: run for shapes; what they are is tested in test_distributions."""

from tests.samples import arr
from tests.samples.random import drawn

X = arr(3, 4, low=0.5, high=4.0)

SAMPLES = {
    "_standard_gamma": [drawn(X)],
    "_sample_dirichlet": [drawn(X)],
}
