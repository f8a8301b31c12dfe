"""Each OpInfo against dtorch: values, gradients, second gradients, and the ways to call it."""

from __future__ import annotations

import copy
import itertools
from contextlib import suppress
from typing import Any

import torch

import dtorch

from . import compare
from . import convert as to
from .compare import (
    SAMPLES,
    Mismatch,
    Skip,
    attempt,
    is_random,
    match,
    match_grads,
    match_statistics,
    reference,
    seed,
    spread,
)
from .convert import bind, call, convert, home, last_name, leaves, lookup, rebuild
from .databases import FURTHER_DTYPES, MOST_VALUES, STATUSES, op_dtypes


def op_steps(op, fn, twin, sample, gradients, second):
    """Compare one sample of one op; yields the stages forward, backward, gradgrad."""
    yield "forward"
    wrapper = call if op.name.startswith("masked.") else op.gradcheck_wrapper
    tree, kwargs = (sample.input, *sample.args), sample.kwargs

    def run() -> Any:
        return rebuild(wrapper, torch)(fn, *tree, **kwargs)

    with reference():
        state = torch.get_rng_state()
        raw = run()
        out = sample.output_process_fn_grad(raw)
        drawn = is_random(lambda: sample.output_process_fn_grad(run()), state)
    memo = {}
    their_tree, their_kwargs = convert([tree, kwargs], memo)

    def their_run() -> Any:
        return rebuild(wrapper, dtorch)(twin, *their_tree, **their_kwargs)

    their_raw = their_run()
    # Where the database compares only a function of the result (an SVD is not unique), so do we.
    processed = not sample.output_process_fn_grad.__qualname__.startswith("SampleInput.")
    match(raw, their_raw, not (drawn or processed or op.has_nondeterministic_output))
    if to.DEVICE != "cpu" and list(leaves(tree, torch.Tensor)):
        for t in leaves(their_raw, dtorch.Tensor):
            if not str(t.device).startswith(to.DEVICE):
                raise Mismatch(f"output on {t.device}, not {to.DEVICE}")
    their_out = rebuild(sample.output_process_fn_grad, dtorch)(their_raw)
    if drawn and not op.has_nondeterministic_output:
        match_statistics(run, their_run)
    elif processed:
        match(out, their_out)

    inputs = [
        t
        for t in {id(t): t for t in leaves([tree, kwargs], torch.Tensor)}.values()
        if t.requires_grad
    ]
    outs, their_outs = list(leaves(out, torch.Tensor)), list(leaves(their_out, dtorch.Tensor))
    picked = [i for i, t in enumerate(outs) if t.requires_grad]
    if not (gradients and inputs and picked):
        return
    yield "backward"
    with reference():
        along = [torch.randn_like(outs[i]).requires_grad_(second) for i in picked]
        grads = torch.autograd.grad(
            [outs[i] for i in picked], inputs, along, create_graph=second, allow_unused=True
        )
    theirs, their_along = [memo[id(t)] for t in inputs], convert(along)
    their_grads = dtorch.autograd.grad(
        [their_outs[i] for i in picked], theirs, their_along, create_graph=second, allow_unused=True
    )
    match_grads(grads, their_grads, not drawn)

    picked = [i for i, g in enumerate(grads) if g is not None and g.requires_grad]
    if not (second and picked):
        return
    yield "gradgrad"
    with reference():
        along2 = [torch.randn_like(grads[i]) for i in picked]
        grads2 = torch.autograd.grad(
            [grads[i] for i in picked], inputs + along, along2, allow_unused=True
        )
    their_grads2 = dtorch.autograd.grad(
        [their_grads[i] for i in picked], theirs + their_along, convert(along2), allow_unused=True
    )
    match_grads(grads2, their_grads2, not drawn)


# ---- the ways to call it -------------------------------------------------------------------------


def first(tree):
    return tree[0] if isinstance(tree, (list, tuple)) else tree


def plainly(lib, fn, x, args, kwargs):
    return fn(x, *args, **kwargs)


def in_place(lib, fn, x, args, kwargs):
    x = x.clone()
    return fn(x, *args, **kwargs), x


def written_through(lib, fn, x, args, kwargs):
    next(leaves(x, lib.Tensor))  # an op that makes a tensor of numbers has nothing to alias
    first(fn(x, *args, **kwargs)).zero_()
    return x


def into_out(lib, fn, x, args, kwargs):
    made = fn(x, *args, **kwargs)
    out = tuple(map(lib.empty_like, made)) if isinstance(made, tuple) else lib.empty_like(made)
    result = fn(x, *args, out=out, **kwargs)
    return out, first(result) is first(out)


def variants(op, fn):
    """(column, torch's function, how it is used) of the checks beside the main ones."""
    yield "method", op.method_variant, plainly
    yield "operator", op.operator_variant, plainly
    yield "inplace", op.inplace_variant, in_place
    yield "inplace", op.inplace_operator_variant, in_place
    yield "alias", fn, written_through
    if op.supports_out:
        yield "out", fn, into_out


def variant_paths(fn):
    """Where a variant of an op is: a method, or for some a function called with inplace=True."""
    name = getattr(fn, "__name__", "")
    return [f"Tensor.{name}"] if lookup(torch.Tensor, name) else ()


def check_variant(op, column, fn, twin, use, samples):
    """Compare on the first sample that torch can do this with: '' or why not; None if none can."""

    def has_empty(sample: Any) -> bool:
        return not all(t.numel() for t in leaves(sample.input, torch.Tensor))

    for sample in sorted(samples, key=has_empty):
        case = sample.input, sample.args, sample.kwargs
        state = torch.get_rng_state()
        try:
            with torch.no_grad():
                ref = use(torch, fn, *copy.deepcopy(case))
        except Exception:
            continue
        drawn = not torch.equal(state, torch.get_rng_state())

        def steps():
            yield column
            if twin is None:
                raise Mismatch("missing")
            with dtorch.no_grad():
                got = use(dtorch, twin, *convert(case))
            match(ref, got, not (drawn or op.has_nondeterministic_output))

        return attempt(steps())[1]


def check_errors(op, fn, twin):
    """Of the calls that torch refuses, how many dtorch refuses too, by an exception of the
    same kind or one that is usual for wrong arguments, and how many there are."""
    good = total = 0
    for error in op.error_inputs("cpu") if op.error_inputs_func else ():
        sample = error.sample_input
        case = sample.input, sample.args, sample.kwargs
        tensors = {id(t): t for t in leaves(case, torch.Tensor)}.values()
        memory = [t.untyped_storage().data_ptr() for t in tensors if t.numel()]
        if len(set(memory)) < len(memory) or any(t.ndim > 64 or t.is_meta for t in tensors):
            continue  # what is wrong with these does not survive the way through numpy
        try:
            plainly(torch, fn, *case)
            continue
        except Exception:
            total += 1
        if twin is None:
            continue
        try:
            case = convert(case)
        except Exception:
            continue
        try:
            plainly(dtorch, twin, *case)
        except (error.error_type, RuntimeError, ValueError, TypeError, IndexError) as e:
            good += isinstance(e, NotImplementedError) <= (error.error_type is NotImplementedError)
        except Exception:
            pass
    return good, total


# ---- one op --------------------------------------------------------------------------------------


def op_samples(op, dtype, gradients, limit=None):
    """The sample inputs of an op; the first ones of `limit`."""
    seed(op.formatted_name)
    samples = itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=gradients), limit)

    def size(s: Any) -> int:
        return sum(t.numel() for t in leaves([s.input, s.args, s.kwargs], torch.Tensor))

    return [s for s in samples if size(s) < MOST_VALUES]


def check_op(op, rec):
    compare.SLACK = compare.LOOSE.get(op.name, 1)
    rec["status"], rec["why"] = "forward-fail", "no sample"  # if nothing better is found
    gradients, dtypes = rec["goal"] != "forward-ok", op_dtypes(op)
    paths = op.name, f"Tensor.{op.name}", f"Tensor.{op.name}_"
    fn, twin = rebuild(op.op, torch), bind(op.op, *paths)
    if lookup(dtorch, home(*paths)) is None:
        twin = None
    failed, ran, good = {}, 0, 0
    for dtype in dtypes:
        # Second derivatives are compared in double precision only, where there is that.
        second = rec["goal"] == "gradgrad-ok" and dtype == dtypes[-1]
        samples = op_samples(op, dtype, gradients) if twin is not None else ()
        for sample in spread(samples, SAMPLES):
            try:
                stage, why = attempt(op_steps(op, fn, twin, sample, gradients, second))
            except Skip as e:
                rec["skipped"] = str(e)
                continue
            ran += 1
            good += not stage
            if stage:
                failed.setdefault(stage, f"{why}  [{sample.summary()[:300]}]")
    stages = "forward", "backward", "gradgrad"
    worst = next((stage for stage in stages if stage in failed), None)
    below = dict(zip(stages, STATUSES[2:]))  # the status of an op that fails at that stage
    if twin is None:
        rec["status"] = rec["why"] = "missing"
    elif worst:
        rec["status"], rec["why"] = below[worst], failed[worst]
    elif ran:
        rec["status"], rec["why"] = rec["goal"], ""
    rec["samples"] = good, ran

    extra = rec["variants"] = {}
    samples = op_samples(op, dtypes[-1], gradients, 8)
    for column, torch_fn, use in variants(op, fn):
        if torch_fn is not None:
            theirs = twin if torch_fn is fn else bind(torch_fn, *variant_paths(torch_fn))
            why = check_variant(op, column, rebuild(torch_fn, torch), theirs, use, samples)
            if why is not None:
                extra[column] = max(why, extra.get(column, ""))
    rec["errors"] = check_errors(op, fn, twin if good else None)
    further = [d for d in FURTHER_DTYPES if d in op.supported_dtypes("cpu") and d not in dtypes]
    wrong = rec["wrong dtypes"] = {last_name(d): "missing" for d in further if twin is None}
    for dtype in further if twin is not None else ():
        for sample in op_samples(op, dtype, False, 4):
            with suppress(Skip):
                stage, why = attempt(op_steps(op, fn, twin, sample, False, False))
                if stage:
                    wrong.setdefault(last_name(dtype), why)
    rec["dtypes"] = len(further) - len(wrong), len(further)
