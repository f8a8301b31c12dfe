"""A step of DistributedDataParallel on two ranks, against torch's over gloo: `python -m bench.ddp`.

For each model: a step (zero_grad, forward, backward, optimizer) that averages gradients, one that
does not (no_sync), and the all-reduces of its gradients alone.  What the first takes longer than the
second is the exposed communication; what that is less than the third was hidden behind the backward.
Each library has processes of its own, one thread each, which take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from bench.ranks import Contender, answer, save, settle

CONTENDERS = ("dtorch shm", "dtorch mpi", "torch gloo")
KINDS = ("ddp", "no_sync", "alone")


def mlp(lib: Any, *widths: int) -> Any:
    nn = lib.nn
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def gpt(lib: Any, vocabulary: int, width: int, blocks: int) -> Any:
    """nn's own transformer layers between an embedding and a head of its weights."""
    nn = lib.nn

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(width, 8, 4 * width, 0.0, batch_first=True)
                for _ in range(blocks)
            )
            self.norm = nn.LayerNorm(width)

        def forward(self, tokens: Any, mask: Any) -> Any:
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x, src_mask=mask)
            return nn.functional.linear(self.norm(x), self.embedding.weight)

    return GPT()


def tensors(lib: Any, shapes: list[tuple[int, ...]]) -> Any:
    """No model, but its parameters: how communication copes with their number and sizes."""
    nn = lib.nn

    class Tensors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.all = nn.ParameterList(nn.Parameter(lib.zeros(shape)) for shape in shapes)

        def forward(self, factor: Any) -> Any:
            return sum((p * factor).sum() for p in self.all).reshape(1, 1).expand(1, 2)

    return Tensors()


def resnet18() -> list[tuple[int, ...]]:
    """The shapes of ResNet-18's parameters (He et al. 2015): 62 tensors, 11.7 million numbers."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        for inputs in (before, width):
            shapes += [(width, inputs, 3, 3), (width,), (width,), (width, width, 3, 3), (width,)]
            shapes += [(width,)] + [(width, inputs, 1, 1), (width,), (width,)] * (inputs < width)
        before = width
    return [*shapes, (1000, 512), (1000,)]


class Task(NamedTuple):
    """A model, its inputs and targets, made with a library."""

    model: Callable[[Any], Any]
    batch: Callable[[Any], tuple[tuple[Any, ...], Any]]


def images(lib: Any) -> tuple[tuple[Any, ...], Any]:
    return (lib.randn(64, 1024),), lib.randint(0, 512, (64,))


def tokens(lib: Any) -> tuple[tuple[Any, ...], Any]:
    mask = lib.nn.Transformer.generate_square_subsequent_mask(64)
    return (lib.randint(0, 21500, (4, 64)), mask), lib.randint(0, 21500, (4, 64))


def factor(lib: Any) -> tuple[tuple[Any, ...], Any]:
    return (lib.ones(1),), lib.zeros(1, dtype=lib.int64)


TASKS = {
    "MLP, 11.5M": Task(lambda lib: mlp(lib, 1024, 2048, 2048, 2048, 512), images),
    "MLP, 30.4M": Task(lambda lib: mlp(lib, 1024, 3072, 3072, 3072, 2048, 512), images),
    "GPT, 29.9M": Task(lambda lib: gpt(lib, 21500, 512, 6), tokens),
    "ResNet-18's tensors, 11.7M": Task(lambda lib: tensors(lib, resnet18()), factor),
}


def join(contender: str) -> Any:
    """The library, its group being made."""
    if contender.startswith("torch"):
        import torch as lib
        import torch.distributed as dist
    else:
        import dtorch as lib  # type: ignore[no-redef]
        import dtorch.distributed as dist  # type: ignore[no-redef]
    dist.init_process_group(contender.split()[1])
    return lib


def prepare(lib: Any, task: Task) -> dict[str, Callable[[], None]]:
    """What is timed, by kind."""
    lib.manual_seed(0)
    model = lib.nn.parallel.DistributedDataParallel(task.model(lib), gradient_as_bucket_view=True)
    optimizer = lib.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    inputs, targets = task.batch(lib)

    def step(around: Callable[[], Any]) -> None:
        optimizer.zero_grad()
        with around():
            output = model(*inputs).flatten(0, -2)
            lib.nn.functional.cross_entropy(output, targets.flatten()).backward()
        optimizer.step()

    for _ in range(3):  # buckets find their order, and memory is there
        step(nullcontext)
    flat = [zeros(lib, n) for n in buckets(model)]

    def alone() -> None:
        works = [lib.distributed.all_reduce(x, async_op=True) for x in flat]
        for work in works:
            work.wait()

    return {
        "ddp": lambda: step(nullcontext),
        "no_sync": lambda: step(model.no_sync),
        "alone": alone,
    }


def buckets(model: Any) -> list[int]:
    """Elements of the buckets of 25 MB that gradients go in."""
    sizes, total = [], sum(p.numel() for p in model.parameters())
    while total:
        sizes.append(min(total, 25 << 18))
        total -= sizes[-1]
    return sizes


def zeros(lib: Any, n: int) -> Any:
    """A tensor that lies where gradients do."""
    if lib.__name__ == "torch":
        return lib.zeros(n)
    from dtorch.core.tensor import wrap

    return wrap(lib.distributed.GroupMember.WORLD.zeros(n, lib.zeros(1)._a))


def serve(contender: str, at: str, priority: bool) -> None:
    """On each rank: answer (task, kind, rounds) with the seconds that each round has taken."""
    lib = join(contender)
    if lib.__name__ == "torch":
        lib.set_num_threads(1)
    settle(priority)
    timed: dict[str, dict[str, Callable[[], None]]] = {}

    def measure(task: str, kind: str, rounds: int) -> list[float]:
        if task not in timed:
            timed.clear()
            timed[task] = prepare(lib, TASKS[task])
        times = []
        for _ in range(rounds):
            lib.distributed.barrier()
            start = time.perf_counter()
            timed[task][kind]()
            lib.distributed.barrier()  # waiting for the slower rank counts in all kinds alike
            times.append(time.perf_counter() - start)
        return times

    answer(at, lib.distributed.get_rank(), measure)
    lib.distributed.destroy_process_group()


def compare(turns: int, priority: bool) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Seconds: {task: {contender: {kind: [shortest, median]}}}."""
    result: dict[str, dict[str, dict[str, list[float]]]] = {}
    with ExitStack() as stack:
        contenders = [
            stack.enter_context(Contender("bench.ddp", name, priority)) for name in CONTENDERS
        ]
        for task in TASKS:
            times: dict[str, dict[str, list[float]]] = {c.name: {} for c in contenders}
            for _ in range(turns):
                for contender in contenders:
                    for kind in KINDS:
                        some = contender.ask(task, kind, 2)
                        times[contender.name].setdefault(kind, []).extend(some)
            result[task] = {
                name: {kind: [min(t), statistics.median(t)] for kind, t in by_kind.items()}
                for name, by_kind in times.items()
            }
    return result


def table(result: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """In Markdown, in milliseconds; of each the shortest, since what disturbs only ever adds."""
    lines = [
        "| model | | step | of torch's | without averaging | exposed | all-reduces alone | hidden |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for task, by_name in result.items():
        rival = by_name["torch gloo"]["ddp"][0]
        for name, times in by_name.items():
            step, without, alone = (times[kind][0] for kind in KINDS)
            exposed = step - without
            hidden = min(1.0, max(0.0, 1 - exposed / alone))
            ms = [f"{1e3 * s:.1f}" for s in (step, without, exposed, alone)]
            cells = [task, name, ms[0], f"{step / rival:.2f}x", *ms[1:], f"{hidden:.0%}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="of two rounds each")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    parser.add_argument("--priority", action="store_true", help="before other programs (as root)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        serve(options.contender, options.at, options.priority)
        return
    result = compare(options.turns, options.priority)
    print(table(result))
    if options.out:
        save(options.out, result, table(result), options.priority)


if __name__ == "__main__":
    main()
