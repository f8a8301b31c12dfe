"""How far this rank's training is: what it says of itself to whoever watches the job."""

from __future__ import annotations

from typing import Any


class Progress:
    """Counts of this process, which only grow; its control thread reads them twice a second.

    steps: averages of gradients that DistributedDataParallel has made, or as the script reports
    samples: as the script reports
    loss: the latest that was reported; None: none yet
    device: of the model that is trained
    """

    def __init__(self) -> None:
        self.steps = self.samples = 0
        self.loss: float | None = None
        self.device = ""


PROGRESS = Progress()


def report(loss: Any = None, samples: int = 0, step: int | None = None) -> None:
    """Tell how training goes, for `dtorch-run status`, `top` and the dashboard.

    A call costs a microsecond, and does nothing else: where nobody watches, nothing is sent.

    loss: a number, or a tensor of one (on a GPU this waits for it)
    samples: how many this rank has done since it last said so
    step: how many steps it has done, where no DistributedDataParallel counts them

    Raises what float(loss) raises; ValueError for a negative number of samples or steps.
    """
    if samples < 0 or (step is not None and step < 0):
        raise ValueError(f"expected samples and step >= 0, got {samples} and {step}")
    if loss is not None:
        PROGRESS.loss = float(loss)
    PROGRESS.samples += samples
    if step is not None:
        PROGRESS.steps = step
