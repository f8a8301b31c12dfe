"""Each optimizer and learning rate schedule against dtorch: trajectories and states."""

from __future__ import annotations

import copy

import numpy as np
import torch

import dtorch

from .compare import array, attempt, match, reference
from .convert import convert
from .databases import SCHEDULERS


def descend(lib, opt, params, steps, info, put):
    """`steps` steps of one optimizer on a fixed convex problem.  The gradients are computed in
    numpy from the parameters, so that nothing but the optimizer is measured."""

    def closure():
        loss = 0.0
        for i, p in enumerate(params):
            x = array(p)
            curvature = np.linspace(0.5, 2, x.size, dtype=x.dtype).reshape(x.shape)
            target = np.cos(np.arange(x.size, dtype=x.dtype) + i).reshape(x.shape)
            grad = torch.from_numpy(curvature * (x - target))
            loss += float((curvature * (x - target) ** 2 / 2).sum())
            if info.only_supports_sparse_grads:
                grad = torch.sparse_coo_tensor([[0, 2]], grad[[0, 2]], grad.shape)
            p.grad = put(grad)
        return put(torch.tensor(loss))

    for _ in range(steps):
        if info.step_requires_closure:
            opt.step(closure)
        else:
            closure()
            opt.step()


def optimizer_steps(info, kwargs, groups):
    """Compare 10 steps, then the state dict, then 5 more steps of an optimizer loaded from it."""
    yield "params"
    name = info.optim_cls.__name__
    shapes = [(3, 4), (4, 5)] if name == "Muon" else [(3, 4), (5,)]
    params = [torch.nn.Parameter(torch.randn(s)) for s in shapes]

    def make(lib, params, kwargs):
        given = [{"params": [params[0]], "lr": 0.02}, {"params": params[1:]}] if groups else params
        return getattr(lib.optim, name)(given, **kwargs)

    theirs = convert(params)
    with reference():
        opt = make(torch, params, copy.deepcopy(kwargs))
        descend(torch, opt, params, 10, info, lambda t: t)
    their_opt = make(dtorch, theirs, convert(kwargs))
    descend(dtorch, their_opt, theirs, 10, info, convert)
    match([p.data for p in params], [p.data for p in theirs], path="params")
    yield "state"
    match(opt.state_dict(), their_opt.state_dict(), path="state_dict")
    theirs = convert(params)
    their_opt = make(dtorch, theirs, convert(kwargs))
    their_opt.load_state_dict(convert(opt.state_dict()))
    descend(torch, opt, params, 5, info, lambda t: t)
    descend(dtorch, their_opt, theirs, 5, info, convert)
    match([p.data for p in params], [p.data for p in theirs], path="params after load_state_dict")


def check_optimizer(info, rec):
    configs = [(i.desc, i.kwargs, False) for i in info.optim_inputs_func(device="cpu")]
    if info.supports_param_groups:
        configs.append(("two groups", {}, True))
    for_gpu = "capturable", "fused", "foreach"
    configs = [c for c in configs if not any(map(c[1].get, for_gpu))]
    rec["configs"] = {desc: ("params", "time limit") for desc, *_ in configs}
    for desc, kwargs, groups in configs:
        rec["configs"][desc] = attempt(optimizer_steps(info, kwargs, groups))
    rec["why"] = next((f"{desc}: {why}" for desc, (_, why) in rec["configs"].items() if why), "")


def lr_trace(lib, make, start=None):
    """The learning rates and momenta of 20 steps and the states after 10 of them; or those of the
    last 10 steps, begun from the states `start`."""
    p, q = lib.zeros(2, requires_grad=True), lib.zeros(3, requires_grad=True)
    opt = lib.optim.SGD([{"params": [p]}, {"params": [q], "lr": 0.05}], lr=0.1, momentum=0.9)
    scheduler = make(lib.optim.lr_scheduler, opt)
    if start:
        opt.load_state_dict(start[0])
        scheduler.load_state_dict(start[1])
    rows, saved = [], None
    for step in range(10 if start else 0, 20):
        if step == 10:
            saved = copy.deepcopy((opt.state_dict(), scheduler.state_dict()))
        rows.append([[g["lr"], g["momentum"]] for g in opt.param_groups])
        opt.step()
        if "Plateau" in type(scheduler).__name__:
            scheduler.step(int("54444333333222222111"[step]))
        else:
            scheduler.step()
        rows.append(list(map(float, scheduler.get_last_lr())))
    return rows, saved


def scheduler_steps(make):
    yield "lr"
    rows, saved = lr_trace(torch, make)
    their_rows, their_saved = lr_trace(dtorch, make)
    match(rows, their_rows, path="lr")
    yield "state"
    rows, their_rows = lr_trace(torch, make, saved)[0], lr_trace(dtorch, make, their_saved)[0]
    match(rows, their_rows, path="lr when resumed")


def check_scheduler(name, rec):
    stage, rec["why"] = attempt(scheduler_steps(SCHEDULERS[name]))
    rec["passed"] = {"lr": [], "state": ["lr"], None: ["lr", "state"]}.get(stage, [])
