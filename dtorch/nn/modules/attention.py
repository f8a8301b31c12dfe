"""Multi-head attention."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import functional as F
from .. import init
from .linear import Linear
from .module import Module
from .utils import parameter


class NonDynamicallyQuantizableLinear(Linear):
    """Linear under the name that torch's repr of MultiheadAttention shows."""


class MultiheadAttention(Module):
    """softmax(Q K^T / sqrt(d)) V in num_heads parts of the embedding, and an output projection.

    query: (L, N, embed_dim), key: (S, N, kdim), value: (S, N, vdim); (N, L, ...) with batch_first;
    without N for a single sample.  Vaswani et al., "Attention is all you need" (2017).
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False,
                 add_zero_attn=False, kdim=None, vdim=None, batch_first=False, device=None,
                 dtype=None):  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        made = {"device": device, "dtype": dtype}
        together = self._qkv_same_embed_dim
        self.in_proj_weight = parameter(3 * embed_dim, embed_dim, **made) if together else None
        self.q_proj_weight = None if together else parameter(embed_dim, embed_dim, **made)
        self.k_proj_weight = None if together else parameter(embed_dim, self.kdim, **made)
        self.v_proj_weight = None if together else parameter(embed_dim, self.vdim, **made)
        self.in_proj_bias = parameter(3 * embed_dim, **made) if bias else None
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **made)
        self.bias_k = parameter(1, 1, embed_dim, **made) if add_bias_kv else None
        self.bias_v = parameter(1, 1, embed_dim, **made) if add_bias_kv else None
        self._reset_parameters()

    def _reset_parameters(self):
        for w in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if w is not None:
                init.xavier_uniform_(w)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False):  # fmt: skip
        """The output, of query's shape, and the attention weights, or None without need_weights.

        weights: (N, L, S) averaged over the heads, else (N, num_heads, L, S)
        key_padding_mask: (N, S), True: ignore this key; attn_mask: (L, S) or (N num_heads, L, S),
            True: ignore, or numbers that are added to the scores
        """
        batched = self.batch_first and query.ndim == 3
        if batched:
            swapped = query.transpose(0, 1)
            # One tensor stays one, so that self-attention can project it at once.
            keys = swapped if key is query else key.transpose(0, 1)
            value = swapped if value is query else keys if value is key else value.transpose(0, 1)
            query, key = swapped, keys
        separate = {} if self._qkv_same_embed_dim else {
            "use_separate_proj_weight": True, "q_proj_weight": self.q_proj_weight,
            "k_proj_weight": self.k_proj_weight, "v_proj_weight": self.v_proj_weight,
        }  # fmt: skip
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, training=self.training,
            key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            average_attn_weights=average_attn_weights, is_causal=is_causal, **separate,
        )  # fmt: skip
        return (out.transpose(0, 1) if batched else out), weights
