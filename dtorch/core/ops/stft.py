"""The short-time Fourier transform of signals, and back: Griffin and Lim, "Signal estimation from
modified short-time Fourier transform" (1984).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import warnings

from .complex import is_complex, view_as_real
from .create import ones
from .fft import FFT
from .layout import _fold, unfold
from .resample import pad, pad_constant
from .shape import transpose

_TOO_SMALL = 1e-11  # a sum of squared windows that is taken for 0


def _window(window, win_length, n_fft, like):
    """The window, default ones, in the middle of n_fft zeros: (n_fft,)"""
    if window is None:
        if win_length == n_fft:
            return None
        window = ones(win_length, dtype=like.dtype, device=like.device)
    before = (n_fft - win_length) // 2
    return pad_constant(window, pads=((before, n_fft - win_length - before),), value=0)


def _check_window(window, win_length):
    if window is not None and (window.ndim != 1 or len(window) != win_length):
        raise RuntimeError(
            f"expected a 1D window tensor of size equal to win_length={win_length}, but got window "
            f"with size {list(window.shape)}"
        )


def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True,
         pad_mode="reflect", normalized=False, onesided=None, return_complex=None,
         align_to_window=None):  # fmt: skip
    """The Fourier transforms of windows of a signal (T,) or of several (B, T): (B, N, frames).

    n_fft: the size of each transform; N is n_fft // 2 + 1 where onesided (the default of real
        signals), else n_fft

    hop_length: how far the frames are apart (default: n_fft // 4)

    window: (win_length,) what the signal is multiplied by (default: ones), in the middle of a frame

    center: whether frame t is around t * hop_length, the ends padded with `pad_mode`, or begins there

    align_to_window: without center, whether it is the window that begins there

    return_complex: False gives pairs of real numbers (B, N, frames, 2); needed for real signals
    """
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    mixed = is_complex(input) or (window is not None and is_complex(window))
    if return_complex is None:
        if not mixed:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if input.dtype.category < 2 or input.ndim not in (1, 2):
        raise RuntimeError(
            "stft: expected a 1D or 2D tensor of floating point or complex values, but got "
            f"{input.dtype} of shape {list(input.shape)}"
        )
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    x = input if input.ndim == 2 else input[None]
    if center:
        x = pad(x[:, None], (n_fft // 2, n_fft // 2), pad_mode)[:, 0]
    if not 0 < n_fft <= x.shape[1]:
        raise RuntimeError(f"stft: expected 0 < n_fft < {x.shape[1]}, but got n_fft={n_fft}")
    if hop_length <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop_length}")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(
            f"stft: expected 0 < win_length <= n_fft, but got win_length={win_length}"
        )
    _check_window(window, win_length)
    onesided = not mixed if onesided is None else onesided
    if onesided and mixed:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window and not center:
        x = pad(x, ((n_fft - win_length) // 2,) * 2)
    frames = unfold(x, 1, n_fft, hop_length)
    window = _window(window, win_length, n_fft, input)
    frames = frames if window is None else frames * window
    spectra = FFT["rfft" if onesided else "fft"](frames, norm="ortho" if normalized else None)
    y = transpose(spectra, 1, 2)
    y = y if input.ndim == 2 else y[0]
    return y if return_complex else view_as_real(y)


def istft(input, n_fft, hop_length=None, win_length=None, window=None, center=True,
          normalized=False, onesided=None, length=None, return_complex=False):  # fmt: skip
    """The signals (B, T), or (T,), whose stft is nearest to the input (B, N, frames): its inverse.

    The frames' signals are added up and divided by the sum of the squared windows, which must not
    be 0 anywhere.

    length: T, filled up with zeros (default: as far as the frames reach)

    The other arguments are those of stft.  RuntimeError where they do not fit the input
    """
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    if onesided is None:
        onesided = input.ndim > 1 and input.shape[-2] != n_fft
    _check_spectra(input, n_fft, hop_length, win_length, window, onesided, return_complex)
    spectra = transpose(input if input.ndim == 3 else input[None], 1, 2)
    norm = "ortho" if normalized else None
    if return_complex:
        frames = FFT["ifft"](spectra, norm=norm)
    else:
        half = spectra if onesided else spectra[..., : n_fft // 2 + 1]
        frames = FFT["irfft"](half, n_fft, norm=norm)

    window = _window(window, win_length, n_fft, frames.real)
    if window is None:
        window = ones(n_fft, dtype=frames.real.dtype, device=input.device)
    count = frames.shape[1]
    reach = n_fft + hop_length * (count - 1)
    joined = {"dim": 1, "size": n_fft, "step": hop_length}
    signals = _fold(frames * window, shape=(len(frames), reach), **joined)
    squares = (window * window).expand(1, count, n_fft)
    total = _fold(squares, shape=(1, reach), **joined)

    start = n_fft // 2 if center else 0
    end = reach - start if length is None else start + length
    signals, total = signals[:, start:end], total[:, start:end]
    smallest = total.detach().abs().amin().item() if total.numel() else 0.0
    if smallest <= _TOO_SMALL:
        raise RuntimeError(
            f"istft: window overlap add min: {smallest}: the windows must cover every sample; use "
            "another window, a smaller hop_length, or center=True"
        )
    y = signals / total
    if end > reach:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail. Please check your center and hop_length settings.",
            stacklevel=2,
        )
        y = pad(y, (0, end - reach))
    return y if input.ndim == 3 else y[0]


def _check_spectra(input, n_fft, hop_length, win_length, window, onesided, return_complex):
    if not is_complex(input):
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    if not input.numel():
        raise RuntimeError("istft: input tensor cannot be empty.")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"istft: expected a tensor with 2 or 3 dimensions, but got {input.ndim}")
    bins = n_fft // 2 + 1 if onesided else n_fft
    if input.shape[-2] != bins:
        raise RuntimeError(
            "istft: expected the frequency dimension (2nd to the last) of the input tensor to be "
            f"{bins} for n_fft={n_fft} and onesided={onesided}, but got {input.shape[-2]}"
        )
    if not 0 < hop_length <= win_length:
        raise RuntimeError("istft: expected 0 < hop_length <= win_length")
    if not 0 < win_length <= n_fft:
        raise RuntimeError("istft: expected 0 < win_length <= n_fft")
    _check_window(window, win_length)
    if not return_complex and window is not None and is_complex(window):
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")


FUNCTIONS = METHODS = {"stft": stft, "istft": istft}
