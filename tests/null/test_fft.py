"""dtorch.fft and stft beyond the table of samples: what they refuse, and going there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dtorch

REFUSED = {
    "no points": lambda lib, x, z: lib.fft.fft(x, 0),
    "a wrong norm": lambda lib, x, z: lib.fft.fft(x, norm="abc"),
    "no such dim": lambda lib, x, z: lib.fft.fft(x, dim=5),
    "no dims": lambda lib, x, z: lib.fft.fft(lib.tensor(1.0)),
    "half precision": lambda lib, x, z: lib.fft.fft(x.half()),
    "complex to rfft": lambda lib, x, z: lib.fft.rfft(z),
    "complex to ihfft": lambda lib, x, z: lib.fft.ihfft(z),
    "one number to irfft": lambda lib, x, z: lib.fft.irfft(z[:, :1]),
    "too many sizes": lambda lib, x, z: lib.fft.fftn(x, s=(1, 2, 3)),
    "sizes and dims": lambda lib, x, z: lib.fft.fftn(x, s=(1, 2), dim=(0,)),
    "a dim twice": lambda lib, x, z: lib.fft.fftn(x, dim=(0, 0)),
    "rfftn of no dim": lambda lib, x, z: lib.fft.rfftn(x, dim=()),
    "fft2 of a vector": lambda lib, x, z: lib.fft.fft2(x[0]),
    "whole frequencies": lambda lib, x, z: lib.fft.fftfreq(4, dtype=lib.int32),
    "stft, real or not": lambda lib, x, z: lib.stft(x, 4),
    "stft in 3d": lambda lib, x, z: lib.stft(x[None], 2, 1, return_complex=True),
    "stft too long": lambda lib, x, z: lib.stft(x, 8, center=False, return_complex=True),
    "stft without a hop": lambda lib, x, z: lib.stft(x, 4, 0, return_complex=True),
    "stft's window": lambda lib, x, z: lib.stft(x, 4, window=x[0, :3], return_complex=True),
    "one side of complex": lambda lib, x, z: lib.stft(z, 4, onesided=True),
    "istft of real": lambda lib, x, z: lib.istft(x, 4),
    "istft's bins": lambda lib, x, z: lib.istft(z, 8),
    "istft's hop": lambda lib, x, z: lib.istft(z, 4, 5),
    "a window of zeros": lambda lib, x, z: lib.istft(z, 4, window=lib.zeros(4)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_torch_refuses_is_refused(case: str) -> None:
    call = REFUSED[case]
    with pytest.raises((RuntimeError, IndexError)) as expected:
        call(torch, torch.ones(3, 6), torch.ones(3, 6, dtype=torch.complex64))
    with pytest.raises(expected.type):
        call(dtorch, dtorch.ones(3, 6), dtorch.ones(3, 6, dtype=dtorch.complex64))


def test_results_go_to_out() -> None:
    x = dtorch.arange(6.0)
    out = dtorch.empty(4, dtype=dtorch.complex64)
    assert dtorch.fft.rfft(x, out=out) is out
    np.testing.assert_allclose(out.numpy(), np.fft.rfft(x.numpy()), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_there_and_back(n: int) -> None:
    x = dtorch.arange(2.0 * n).reshape(2, n).sin()
    for norm in (None, "ortho", "forward"):
        pairs: list[tuple[Any, Any]] = [
            (dtorch.fft.rfft(x, norm=norm), dtorch.fft.irfft),
            (dtorch.fft.ihfft(x, norm=norm), dtorch.fft.hfft),
        ]
        for y, back in pairs:
            np.testing.assert_allclose(back(y, n, norm=norm).numpy(), x.numpy(), atol=1e-6)


def test_istft_inverts_stft() -> None:
    x = dtorch.arange(40.0).cos()
    window = dtorch.tensor([0.5, 1.0, 1.0, 0.5])
    y = dtorch.stft(x, 4, 2, window=window, return_complex=True)
    back = dtorch.istft(y, 4, 2, window=window, length=40)
    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-5)
    with pytest.warns(UserWarning, match="padded with zeros"):
        assert dtorch.istft(y, 4, 2, length=50).shape == (50,)
