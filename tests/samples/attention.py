"""Attention."""

from tests.samples import arr, bools, call

Q, K, V = arr(2, 3, 4), arr(2, 5, 4, seed=1), arr(2, 5, 3, seed=2)
MASK = bools(3, 5)
MASK[:, 0] = True  # every query may look at something
QUERY, KEY = arr(3, 2, 4), arr(5, 2, 4, seed=1)
W_IN, B_IN, W_OUT, B_OUT = arr(12, 4), arr(12), arr(4, 4), arr(4)
PROJECTIONS = (4, 2, W_IN, B_IN, None, None, False, 0.0, W_OUT, B_OUT)

SAMPLES = {
    "nn.functional.scaled_dot_product_attention": [
        call(Q, K, V), call(Q, K, V, MASK), call(Q, K, V, arr(3, 5, seed=3)),
        call(Q, K, V, is_causal=True), call(Q, K, V, scale=0.3),
        call(arr(2, 4, 3, 4), arr(2, 2, 5, 4), arr(2, 2, 5, 3), enable_gqa=True),
        call(Q, K, V, None, 0.5, grad=False, reference=False),
    ],
    "nn.functional.multi_head_attention_forward": [
        call(QUERY, QUERY, QUERY, *PROJECTIONS), call(QUERY, KEY, KEY, *PROJECTIONS),
        call(QUERY, KEY, KEY, *PROJECTIONS, attn_mask=~MASK, need_weights=True),
        call(QUERY, KEY, arr(5, 2, 4, seed=2), *PROJECTIONS, average_attn_weights=False),
        call(arr(3, 4), arr(5, 4), arr(5, 4, seed=1), *PROJECTIONS),
    ],
}  # fmt: skip
