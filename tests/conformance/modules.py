"""Each ModuleInfo against dtorch: construction, state, output, gradients, pickle, repr."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import torch
from torch.testing._internal.common_modules import FunctionInput, module_db
from torch.utils._pytree import tree_map_only

import dtorch

from . import convert as to
from .compare import (
    SAMPLES,
    Skip,
    attempt,
    is_random,
    match,
    match_grads,
    match_statistics,
    reference,
    spread,
)
from .convert import convert, leaves
from .databases import EXTRA_MODULES

MODULE_STAGES = "build", "state", "forward", "backward", "pickle"


def as_leaves(given):
    """The forward input with its tensors made leaves, which get a gradient."""
    memo = {}

    def leaf(t: Any) -> Any:
        return memo.setdefault(id(t), t.detach().requires_grad_(t.requires_grad))

    return given and FunctionInput(
        *tree_map_only(torch.Tensor, leaf, given.args),
        **tree_map_only(torch.Tensor, leaf, given.kwargs),
    )


def module_cases(name):
    """(training, constructor input, forward input or None) for one module class."""
    for info in module_db:
        for training in (True, False) if info.name == "nn." + name else ():
            for case in info.module_inputs_func(
                info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
            ):
                yield training, case.constructor_input, as_leaves(case.forward_input)
    for name_, args, shapes in EXTRA_MODULES:
        for training in (True, False) if name_ == name else ():
            inputs = [
                torch.randint(s[1], s[2:]) if s[0] == "int" else torch.randn(s, requires_grad=True)
                for s in shapes
            ]
            given = args() if callable(args) else args
            yield training, FunctionInput(*given), FunctionInput(*inputs) if inputs else None


def module_steps(name, training, made, given, rec):
    """Compare one module, made and called in one way; yields the stages."""
    yield "build"
    with reference():
        module = getattr(torch.nn, name)(*made.args, **made.kwargs).train(training)
        module.zero_grad()  # a container's children may have been used before
        lazy = isinstance(module, torch.nn.modules.lazy.LazyModuleMixin)
    memo = {}
    theirs = getattr(dtorch.nn, name)(*convert(made.args, memo), **convert(made.kwargs, memo))
    theirs.train(training)
    if to.DEVICE != "cpu":
        theirs.to(to.DEVICE)
    if repr(theirs) != repr(module):
        rec["repr"] = f"repr: {repr(theirs)!r:.150}, not {repr(module)!r:.150}"
    args, kwargs = convert([given.args, given.kwargs], memo) if given else [(), {}]

    def run() -> Any:
        return module(*given.args, **given.kwargs)

    def their_run() -> Any:
        return theirs(*args, **kwargs)

    if lazy:  # the first call gives it its parameters
        run(), their_run()

    yield "state"
    match(list(module.state_dict()), list(theirs.state_dict()), path="state_dict keys")
    match(
        [k for k, _ in module.named_parameters()],
        [k for k, _ in theirs.named_parameters()],
        path="named_parameters",
    )
    theirs.load_state_dict(convert(module.state_dict()))
    match(dict(module.state_dict()), dict(theirs.state_dict()), path="state_dict")

    if given:
        yield "forward"
        with reference():
            state = torch.get_rng_state()
            out = run()
            drawn = is_random(run, state)
        their_out = their_run()
        match(out, their_out, not drawn)
        if drawn:
            match_statistics(run, their_run)
        match(dict(module.state_dict()), dict(theirs.state_dict()), path="buffers after forward")

        outs, their_outs = list(leaves(out, torch.Tensor)), list(leaves(their_out, dtorch.Tensor))
        picked = [i for i, t in enumerate(outs) if t.requires_grad]
        inputs = [t for t in leaves([given.args, given.kwargs], torch.Tensor) if t.requires_grad]
        if picked:
            yield "backward"
            along = [torch.randn_like(outs[i]) for i in picked]
            with reference():
                torch.autograd.backward([outs[i] for i in picked], along)
            dtorch.autograd.backward([their_outs[i] for i in picked], convert(along))
            their_inputs = [memo[id(t)] for t in inputs]
            match_grads(
                [t.grad for t in (*inputs, *module.parameters())],
                [t.grad for t in (*their_inputs, *theirs.parameters())],
                not drawn,
            )

    yield "pickle"
    copied = pickle.loads(pickle.dumps(theirs))
    match(dict(module.state_dict()), dict(copied.state_dict()), path="pickled")
    if given and not drawn:
        match(run(), copied(*args, **kwargs), path="pickled output")


def check_module(name, rec):
    failed, ran = {}, 0
    for training, made, given in spread(module_cases(name), SAMPLES):
        try:
            stage, why = attempt(module_steps(name, training, made, given, rec))
        except Skip as e:
            rec["skipped"] = str(e)
            continue
        ran += 1
        if stage:
            mode = "train" if training else "eval"
            made = f"{name}{made.args or ''}{made.kwargs or ''}"
            failed.setdefault(stage, f"{why}  [{mode}, {made[:300]}]")
    passed = list(itertools.takewhile(lambda stage: ran and stage not in failed, MODULE_STAGES))
    rec["passed"] = passed + ["repr"] * (bool(passed) and "repr" not in rec)
    rec["why"] = "; ".join([*failed.values(), *([rec["repr"]] if "repr" in rec else [])])
    if not ran:
        rec["why"] = "no sample"
