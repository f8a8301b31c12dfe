"""The state of optimizers: checkpoints of either library, hooks, groups, names, against torch."""

import io

import numpy as np
import pytest
import torch

import dtorch
from tests.both import assert_same, plain

KINDS = {
    "SGD": {"momentum": 0.9}, "Adam": {"amsgrad": True}, "AdamW": {}, "Adagrad": {}, "Adadelta": {},
    "Adafactor": {}, "Adamax": {}, "NAdam": {}, "RAdam": {}, "RMSprop": {"centered": True},
    "ASGD": {"t0": 2}, "Rprop": {}, "Muon": {}, "LBFGS": {"max_iter": 3}, "SparseAdam": {},
}  # fmt: skip


class Run:
    """A few steps of an optimizer in one of the libraries."""

    def __init__(self, lib, name):
        self.lib, self.name = lib, name
        self.params = [lib.nn.Parameter(lib.full((3, 4), v, dtype=lib.float64)) for v in (0.5, 2.0)]
        self.opt = getattr(lib.optim, name)(self.params, lr=0.05, **KINDS[name])

    def gradients(self):
        loss = self.lib.zeros((), dtype=self.lib.float64)
        for i, p in enumerate(self.params):
            a = p.detach().numpy()
            g = self.lib.from_numpy(a - np.cos(np.arange(12.0) + i).reshape(3, 4))
            loss = loss + (g * g).sum() / 2
            p.grad = g
            if self.name == "SparseAdam":
                p.grad = self.lib.sparse_coo_tensor(self.lib.tensor([[0, 2]]), g[[0, 2]], (3, 4))
        return loss

    def steps(self, n):
        for _ in range(n):
            if self.name == "LBFGS":
                self.opt.step(self.gradients)
            else:
                self.gradients()
                self.opt.step()
        return [p.detach().numpy().copy() for p in self.params]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_is_continued_by_the_other_library(name):
    for lib, other in ((dtorch, torch), (torch, dtorch)):
        run, file = Run(lib, name), io.BytesIO()
        lib.save([run.opt.state_dict(), run.steps(4), run.opt.state_dict()][2], file)
        resumed = Run(other, name)
        for p, q in zip(resumed.params, run.params):
            p.data = other.from_numpy(q.detach().numpy().copy())
        file.seek(0)
        resumed.opt.load_state_dict(other.load(file))
        # bfloat16 in Muon; float32 in torch's counts; differences of near numbers in LBFGS
        rtol = {"Muon": 2e-2, "LBFGS": 1e-4}.get(name, 1e-6)
        for ours, theirs in zip(run.steps(4), resumed.steps(4)):
            np.testing.assert_allclose(ours, theirs, rtol)


def hooked(lib, log):
    opt = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.5)

    def note(word, result=None):
        def hook(*args):
            log.append((word, len(args)))
            return result(*args) if result else None

        return hook

    opt.register_step_pre_hook(note("step", lambda o, args, kwargs: ((*args, lambda: 7), {})))
    opt.register_step_post_hook(note("stepped", lambda o, args, kwargs: log.append(kwargs)))
    opt.register_state_dict_pre_hook(note("save 2"))
    opt.register_state_dict_pre_hook(note("save 1"), prepend=True)
    opt.register_state_dict_post_hook(note("saved", lambda o, s: {**s, "extra": 1}))
    opt.register_state_dict_post_hook(note("saved last"))
    opt.register_load_state_dict_pre_hook(
        note("load", lambda o, s: {k: v for k, v in s.items() if k != "extra"})
    )
    opt.register_load_state_dict_pre_hook(note("load first"), prepend=True)
    opt.register_load_state_dict_post_hook(note("loaded", lambda o: log.append(type(o).__name__)))
    log.append(opt.step())
    state = opt.state_dict()
    log.append(sorted(state))
    opt.load_state_dict(state)


def names(lib, log):
    a, b = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
    opt = lib.optim.SGD([("a", a)], lr=0.5)
    opt.add_param_group({"params": [("b", b)]})
    state = opt.state_dict()
    log.append([(g["params"], g["param_names"]) for g in state["param_groups"]])
    state["param_groups"][0]["param_names"] = ["other"]
    opt.load_state_dict(state)
    log.append([g["param_names"] for g in opt.param_groups])
    del state["param_groups"][1]["param_names"]
    opt.load_state_dict(state)
    log.append([g["param_names"] for g in opt.param_groups])
    named = lib.optim.Adam(lib.nn.Linear(2, 1).named_parameters())
    log.append(named.param_groups[0]["param_names"])


def groups(lib, log):
    p, q = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
    given = {"params": q, "lr": 0.25}
    opt = lib.optim.SGD([p], lr=0.5, momentum=0.5)
    opt.add_param_group(given)
    given["lr"] = 2.0  # the dict that was given is the group
    log.append([sorted(g) for g in opt.param_groups])
    p.grad, q.grad = lib.ones(1), lib.ones(1)
    opt.step()
    log.append((p.detach(), q.detach()))
    opt.param_groups[0]["momentum"] = 0  # options may change at any time
    opt.step()
    log.append((p.detach(), q.detach(), len(opt.state)))
    log.append(repr(opt))
    opt.zero_grad(set_to_none=False)
    log.append((p.grad, q.grad))


def a_state_for_more_than_parameters(lib, log):
    p = lib.nn.Parameter(lib.ones(1))
    opt = lib.optim.Adam([p])
    state = opt.state_dict()
    state["state"]["epoch"] = {"number": 3}
    state["param_groups"][0]["note"] = "mine"
    opt.load_state_dict(state)
    log.append((opt.state["epoch"], opt.param_groups[0]["note"]))
    log.append(opt.state_dict()["state"])


def old_checkpoints(lib, log):
    """A step that is a number, a momentum that is None, options that were not there yet."""
    p = lib.nn.Parameter(lib.ones(1))
    opt = lib.optim.SGD([p], lr=0.5, momentum=0.5)
    state = opt.state_dict()
    state["state"][0] = {"momentum_buffer": None}
    del state["param_groups"][0]["maximize"]
    opt.load_state_dict(state)
    p.grad = lib.ones(1)
    opt.step()
    log.append((p.detach(), opt.state_dict()["state"], opt.param_groups[0]["maximize"]))


def dtypes(lib, log):
    """State follows the parameter, the step does not."""
    p = lib.nn.Parameter(lib.ones(2))
    opt = lib.optim.Adam([p])
    p.grad = lib.ones(2)
    opt.step()
    half = lib.nn.Parameter(lib.ones(2, dtype=lib.bfloat16))
    loaded = lib.optim.Adam([half])
    loaded.load_state_dict(opt.state_dict())
    state = loaded.state[half]
    log.append([str(state[k].dtype).split(".")[1] for k in ("step", "exp_avg", "exp_avg_sq")])
    state["exp_avg"].zero_()
    log.append(opt.state[p]["exp_avg"])  # a copy was loaded


def duplicates(lib, log):
    p, q = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        opt = lib.optim.SGD([p, p, q], lr=0.5)
    log.append(opt.state_dict()["param_groups"][0]["params"])


PROGRAMS = [hooked, names, groups, a_state_for_more_than_parameters, old_checkpoints, dtypes,
            duplicates]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_as_torch(program):
    assert_same(program)


def test_adagrads_sums_can_be_shared():
    run = Run(dtorch, "Adagrad")
    run.opt.share_memory()
    assert run.opt.state[run.params[0]]["sum"].is_shared()
    np.testing.assert_array_equal(run.steps(2), Run(dtorch, "Adagrad").steps(2))


def test_the_state_that_is_saved_is_live_and_that_is_loaded_is_a_copy():
    run = Run(dtorch, "Adam")
    run.steps(1)
    state = run.opt.state_dict()
    before = plain(state["state"][0]["exp_avg"])
    run.opt.load_state_dict(state)
    run.steps(1)
    assert plain(state["state"][0]["exp_avg"]) == before
