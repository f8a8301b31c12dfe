"""load() runs nothing that a file brings along, unless told to."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch

import dtorch
from dtorch import nn

serialization = dtorch.serialization
ran = []


def record(*args):
    """What the attacks below try to have called."""
    ran.append(args)


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()
    yield
    assert ran == []
    serialization.clear_safe_globals()


def file_of(data):
    """A file of save() with this pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", b"\0" * 16)
    file.seek(0)
    return file


def assembled(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


ME = named(__name__, "record")
CALL = b")R"  # with no arguments
TENSOR = named("torch._utils", "_rebuild_tensor_v2")
ORDERED = named("collections", "OrderedDict")

ATTACKS = {
    "GLOBAL": assembled(ME),
    "REDUCE": assembled(ME, CALL),
    "os.system": assembled(named("os", "system"), text("true"), b"\x85R"),
    "posix.system": assembled(named("posix", "system"), text("true"), b"\x85R"),
    "builtins.eval": assembled(named("builtins", "eval"), text("1"), b"\x85R"),
    "Python 2's eval": assembled(named("__builtin__", "eval"), text("1"), b"\x85R"),
    "getattr": assembled(named("builtins", "getattr"), named("os", "system"), text("x"), b"\x86R"),
    "dotted name": b"\x80\x04" + text("collections") + text("OrderedDict.__init__") + b"\x93.",
    "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93.",
    "not a str": b"\x80\x04K\x01" + text("system") + b"\x93.",
    "INST": assembled(b"(", text("x"), b"i", __name__.encode() + b"\nrecord\n"),
    "OBJ": assembled(b"(", ME, b"o"),
    "NEWOBJ": assembled(ME, b")\x81"),
    "NEWOBJ_EX": assembled(ORDERED, b")}\x92"),
    "EXT1": assembled(b"\x82\x01"),
    "PERSID": assembled(b"Pstorage\n"),
    "NEXT_BUFFER": assembled(b"\x97"),
    "GET, of text": assembled(b"K\x01g0\n"),
    "nested": assembled(b"}", text("a"), b"](", ORDERED, CALL, ME, CALL, b"es"),
    "BUILD of a function": assembled(TENSOR, b"N}", text("__defaults__"), b")s\x86b"),
    "BUILD of a class": assembled(named("torch", "Tensor"), b"N}", text("x"), b")s\x86b"),
    "BUILD of a dtype": assembled(named("torch", "float32"), b"N}", text("np"), b")s\x86b"),
    "BUILD of a dict with slots": assembled(ORDERED, CALL, b"N}", text("clear"), b"Ns\x86b"),
    "a call of what a call returned": assembled(ORDERED, CALL, CALL),
    "a tensor made by what is not for it": assembled(
        named("torch._tensor", "_rebuild_from_type_v2"),
        b"(", named("builtins", "set"), named("torch", "Tensor"), b")}tR",
    ),
    "a subclass of no tensor": assembled(
        named("torch._tensor", "_rebuild_from_type_v2"),
        b"(", TENSOR, named("builtins", "set"), b")}tR",
    ),
    "a tensor's slots": assembled(
        named("torch._tensor", "_rebuild_from_type_v2"),
        b"(", TENSOR, named("torch", "Tensor"),
        b"((", text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x04tQ",
        b"K\x00K\x04\x85K\x01\x85\x89NtN}", text("_a"), b"Ns\x86tR",
    ),
    "codecs that do more": assembled(named("_codecs", "encode"), text("x"), text("rot13"), b"\x86R"),
    "append to no list": assembled(ORDERED, CALL, b"K\x01a"),
    "appends to no list": assembled(ORDERED, CALL, b"(K\x01e"),
    "setitem of no dict": assembled(b"]", b"K\x01K\x01s"),
    "setitems of no dict": assembled(named("torch", "Tensor"), b"(K\x01K\x01u"),
    "additems to no set": assembled(b"](K\x01\x90"),
    "setitem of too little": assembled(b"}K\x01s"),
    "mark without one": assembled(b"e"),
    "empty stack": assembled(b"R"),
    "cut off": b"\x80\x02}",
    "unhashable": assembled(b"}]K\x01s"),
    "another reference": assembled(text("x"), b"Q"),
    "a reference to a module": assembled(b"(", text("module"), ME, b"NNtQ"),
    "a storage of no class of storages": assembled(
        b"(", text("storage"), named("builtins", "set"), text("0"), text("cpu"), b"K\x04tQ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name):
    defaults = dtorch.core.rebuild._rebuild_tensor_v2.__defaults__
    with pytest.raises(pickle.UnpicklingError, match="^Weights only load failed"):
        dtorch.load(file_of(ATTACKS[name]))
    assert dtorch.core.rebuild._rebuild_tensor_v2.__defaults__ == defaults
    assert not hasattr(dtorch.Tensor, "x")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_every_protocol_are_refused(protocol):
    class Evil:
        def __reduce__(self):
            return record, ("x",)

    data = pickle.dumps({"weights": [1, Evil()]}, protocol)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        dtorch.load(file_of(data))
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):  # a plain pickle is no file of ours
        dtorch.load(io.BytesIO(data))


def test_attacks_do_work_where_the_file_is_trusted():
    dtorch.load(file_of(ATTACKS["REDUCE"]), weights_only=False)
    assert ran == [()]
    ran.clear()


@dataclass
class Config:
    width: int


class Slotted:
    __slots__ = ("a",)


class WithState:
    def __setstate__(self, state):
        self.got = state

    def __getstate__(self):
        return {"a": 1}


def test_classes_are_loaded_when_they_are_called_safe():
    def saved(obj):
        file = io.BytesIO()
        dtorch.save(obj, file)
        file.seek(0)
        return file

    file = saved({"config": Config(3), "t": dtorch.ones(2)})
    message = rf"GLOBAL {__name__}.Config was not an allowed global by default.*add_safe_globals"
    with pytest.raises(pickle.UnpicklingError, match=message):
        dtorch.load(file)
    file.seek(0)
    assert serialization.get_unsafe_globals_in_checkpoint(file) == [f"{__name__}.Config"]
    file.seek(0)
    with serialization.safe_globals([Config]):
        assert serialization.get_safe_globals() == [Config]
        assert dtorch.load(file)["config"] == Config(3)
    assert serialization.get_safe_globals() == []
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        dtorch.load(file)
    serialization.add_safe_globals([WithState, Slotted])
    assert dtorch.load(saved(WithState())).got == {"a": 1}
    slotted = Slotted()
    slotted.a = dtorch.ones(2)
    assert dtorch.load(saved(slotted)).a.tolist() == [1, 1]
    file.seek(0)
    serialization.add_safe_globals([(Config, f"{__name__}.Config")])
    file.seek(0)
    assert dtorch.load(file)["config"] == Config(3)
    serialization.clear_safe_globals()
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        dtorch.load(file)
    for wrong in ([3], [(Config, 3)]):
        with pytest.raises((TypeError, ValueError), match="expected"):
            serialization.add_safe_globals(wrong)


def test_blocked_modules_stay_blocked():
    serialization.add_safe_globals([(os.getcwd, "os.getcwd")])
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL os.getcwd whose module os is blocked"):
        dtorch.load(file_of(assembled(named("os", "getcwd"), CALL)))


def test_torchs_modules_can_be_called_safe_under_their_names_here():
    file = io.BytesIO()
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 3)), file)
    file.seek(0)
    assert serialization.get_unsafe_globals_in_checkpoint(file) == [
        "torch.nn.modules.container.Sequential", "torch.nn.modules.linear.Linear",
    ]  # fmt: skip
    with serialization.safe_globals([nn.Sequential, nn.Linear, set]):
        file.seek(0)
        assert isinstance(dtorch.load(file)[0], nn.Linear)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=r"safe_globals\(\[dtorch.nn.modules"):
        dtorch.load(file)


def test_the_state_of_an_ordered_dict():
    d = OrderedDict(a=1)
    d.note = {"version": 2}
    file = io.BytesIO()
    torch.save(d, file)
    file.seek(0)
    assert dtorch.load(file).note == {"version": 2}


def test_what_is_not_a_file_of_save_has_no_globals():
    with pytest.raises(ValueError, match="Expected input to be a checkpoint"):
        serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(b"hello"))


def test_the_environment_decides(monkeypatch):
    harmless = ATTACKS["NEWOBJ_EX"]  # an instruction that only trusting loads take
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(pickle.UnpicklingError):
        dtorch.load(file_of(harmless), weights_only=False)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "yes")
    with pytest.raises(RuntimeError, match="Only one of"):
        dtorch.load(file_of(harmless))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    with pytest.warns(UserWarning, match="forcing weights_only=False"):
        assert dtorch.load(file_of(harmless)) == {}
    with pytest.raises(pickle.UnpicklingError):
        dtorch.load(file_of(harmless), weights_only=True)


def test_pickle_modules():
    harmless = ATTACKS["NEWOBJ_EX"]
    assert dtorch.load(file_of(harmless), pickle_module=pickle) == {}
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        dtorch.load(file_of(harmless), pickle_module=pickle, weights_only=True)
    latin = assembled(b"U\x01\xe9")
    assert dtorch.load(file_of(latin), weights_only=False, encoding="latin1") == "é"
    with pytest.warns(UserWarning, match="only works if"):
        dtorch.load(file_of(assembled(b"N")), encoding="latin1")

    class Slow:
        Pickler = pickle._Pickler

    file = io.BytesIO()
    dtorch.save([dtorch.ones(2)], file, pickle_module=Slow)
    assert torch.load(io.BytesIO(file.getvalue()))[0].tolist() == [1, 1]

    class Compiled:
        __name__ = "compiled"
        Pickler = pickle.Pickler

    with pytest.raises(TypeError, match="subclass of pickle._Pickler"):
        dtorch.save(1, io.BytesIO(), pickle_module=Compiled())
