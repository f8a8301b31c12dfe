"""Windows of signal processing."""

from tests.samples import call

PLAIN = [call(7), call(6, sym=False), call(1), call(0)]
PERIODIC = [call(7), call(6, False), call(1), call(0)]

SAMPLES = {
    **{f"signal.windows.{name}": PLAIN for name in
       ("bartlett", "blackman", "cosine", "hamming", "hann", "nuttall")},
    **{f"{name}_window": PERIODIC for name in ("bartlett", "blackman", "hamming", "hann", "kaiser")},
    "signal.windows.exponential": [*PLAIN, call(6, center=2, tau=3.0, sym=False)],
    "signal.windows.gaussian": [*PLAIN, call(6, std=2.5)],
    "signal.windows.general_cosine": [call(6, a=[0.5, 0.3, 0.2]), call(1, a=[0.5])],
    "signal.windows.general_hamming": [*PLAIN, call(6, alpha=0.3)],
    "signal.windows.kaiser": [*PLAIN, call(6, beta=3.0), call(6, beta=0)],
}  # fmt: skip
SAMPLES["hamming_window"] = [*PERIODIC, call(5, True, 0.5, 0.4)]
SAMPLES["kaiser_window"] = [*PERIODIC, call(5, False, 3.0)]
