"""Fourier transforms."""

import numpy as np

from tests.samples import arr, call, ints

X, CUBE = arr(3, 4), arr(2, 3, 5)
Z = arr(3, 4, seed=1) + 1j * arr(3, 4, seed=2)
HALF = arr(2, 3, seed=3) + 1j * arr(2, 3, seed=4)  # of 4 or 5 numbers
SIGNAL, SIGNALS = arr(13), arr(2, 16)
WINDOW, SHORT = arr(4, low=0.5), arr(2, low=0.5)
SPECTRA = arr(2, 3, 5, seed=5) + 1j * arr(2, 3, 5, seed=6)

SAMPLES = {
    "fft.fft": [call(X), call(Z, 3, 0, norm="ortho"), call(Z, n=6), call(X, norm="forward"),
                call(ints(3, 4, high=5))],
    "fft.ifft": [call(Z), call(X, 5, norm="forward")],
    "fft.rfft": [call(X), call(X, dim=0, norm="ortho"), call(X, 1), call(X, 5, norm="forward")],
    "fft.irfft": [call(HALF), call(HALF, 5), call(HALF, 2, norm="ortho"), call(X), call(HALF, 1)],
    "fft.hfft": [call(HALF), call(HALF, 5, norm="forward"), call(X, dim=0)],
    "fft.ihfft": [call(X), call(X, 5, 0, norm="ortho")],
    "fft.fft2": [call(Z), call(CUBE, s=(2, 6), dim=(0, -1))],
    "fft.ifft2": [call(Z, norm="ortho")],
    "fft.rfft2": [call(X), call(CUBE, s=(4, 4), norm="forward")],
    "fft.irfft2": [call(HALF), call(SPECTRA, s=(2, 7))],
    "fft.hfft2": [call(HALF, norm="ortho"), call(SPECTRA, s=(2, 7))],
    "fft.ihfft2": [call(X)],
    "fft.fftn": [call(Z), call(CUBE, dim=(2, 0)), call(X, s=(5,)), call(X, dim=())],
    "fft.ifftn": [call(Z, s=(-1, 3)), call(CUBE, norm="ortho")],
    "fft.rfftn": [call(CUBE), call(CUBE, dim=(2, 0), s=(3, 4))],
    "fft.irfftn": [call(SPECTRA), call(SPECTRA, dim=(2, 0), norm="forward")],
    "fft.hfftn": [call(SPECTRA), call(SPECTRA, dim=1)],
    "fft.ihfftn": [call(CUBE), call(CUBE, dim=(2, 1))],
    "fft.fftfreq": [call(5), call(4, 0.5, dtype=np.dtype("float64"))],
    "fft.rfftfreq": [call(5), call(4, d=2.0)],
    "fft.fftshift": [call(CUBE), call(Z, 1)],
    "fft.ifftshift": [call(CUBE), call(CUBE, (0, 1))],
    "stft": [call(SIGNAL, 4, return_complex=True),
             call(SIGNALS, 5, 2, 4, WINDOW, normalized=True, return_complex=True),
             call(SIGNALS, 4, 3, center=False, onesided=False, return_complex=False),
             call(SIGNALS, 6, 2, 2, SHORT, False, align_to_window=True, return_complex=True),
             call(SIGNALS, 4, pad_mode="constant", return_complex=True),
             call(Z, 3, 1)],
    "istft": [call(SPECTRA, 4, 2, window=WINDOW), call(SPECTRA[0], 5, 2, normalized=True),
              call(SPECTRA, 4, 2, 2, SHORT, length=6),
              call(Z, 3, 1, onesided=False, return_complex=True),
              call(SPECTRA, 4, window=WINDOW, center=False, length=7)],
    "Tensor.stft": [call(SIGNAL, 4, return_complex=True)],
    "Tensor.istft": [call(SPECTRA, 4)],
}  # fmt: skip
