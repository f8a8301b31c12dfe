"""Which functions autocast casts the arguments of: torch's lists, by device type.

Names are relative to dtorch, or to dtorch.nn.functional; core.ops has what modules run without a
name of torch's.  What is on no list runs in the dtypes of its arguments, and composites of listed
functions follow from those.

Source: the op reference of torch.amp, and aten/src/ATen/autocast_mode.cpp.
"""

from __future__ import annotations


def _names(text: str) -> list[str]:
    return text.split()


# Products: to the lower precision.
_LOWER = _names("""
    conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d
    linear matmul mm bmm addmm addbmm baddbmm chain_matmul linalg.multi_dot linalg.vecdot
    prelu scaled_dot_product_attention rnn_tanh_cell rnn_relu_cell core.ops.rnn.lstm core.ops.rnn.rnn
""")

LOWER = {
    "cpu": [*_LOWER, "core.ops.attention._weights"],
    "cuda": [*_LOWER, "addmv", "addr", "mv", "einsum", "lstm_cell", "gru_cell", "core.ops.rnn.gru"],
}

# Products only where operands have a letter in common that is summed over.
CONTRACTION = {"cpu": ["einsum"]}

# What sums much, or needs the range: to float32.
FLOAT32 = {
    "cpu": _names("""
        prod quantile nanquantile trace polar view_as_complex cdist stft
        avg_pool3d max_pool3d adaptive_avg_pool3d adaptive_max_pool3d max_unpool1d max_unpool2d
        max_unpool3d
        fractional_max_pool2d fractional_max_pool3d grid_sample
        binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy
        ctc_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss
        multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss
        soft_margin_loss triplet_margin_loss
        fft.fft fft.ifft fft.fft2 fft.ifft2 fft.fftn fft.ifftn fft.rfft fft.irfft fft.rfft2
        fft.irfft2 fft.rfftn fft.irfftn fft.hfft fft.ihfft
        cholesky cholesky_inverse cholesky_solve inverse lu_solve orgqr ormqr pinverse geqrf qr svd
        triangular_solve linalg.cond linalg.matrix_rank linalg.solve linalg.cholesky
        linalg.cholesky_ex linalg.svd linalg.svdvals linalg.eig linalg.eigh linalg.eigvals
        linalg.eigvalsh linalg.inv linalg.inv_ex linalg.householder_product linalg.tensorinv
        linalg.tensorsolve linalg.qr linalg.lstsq svd_lowrank pca_lowrank
    """),
    "cuda": _names("""
        acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus
        layer_norm rms_norm group_norm cosine_similarity
        poisson_nll_loss cosine_embedding_loss nll_loss hinge_embedding_loss kl_div l1_loss
        smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss
        soft_margin_loss triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits
        dist pdist cdist renorm logsumexp interpolate
        prod softmax log_softmax cumprod cumsum linalg.vector_norm linalg.matrix_norm sum norm
    """),
}

# Of several tensors: to the widest of their dtypes.  (On the CPU torch's bilinear is no product.)
WIDEST = {
    "cpu": ["cat", "stack", "index_copy", "bilinear"],
    "cuda": _names("""
        addcdiv addcmul atan2 bilinear cross dot vdot grid_sample index_put tensordot scatter_add
    """),
}

# Padding that repeats elements: to float32 as well.
PADDING = {"cpu": ["pad"]}

REFUSED = {"cuda": ["binary_cross_entropy"]}
