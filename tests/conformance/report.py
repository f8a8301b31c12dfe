"""What the records say: counts, the gaps, and docs/conformance.md.

A gap is something that torch does and dtorch does not.  gaps.json is the ratchet: the gaps that are
known, as {"op add": ["out", ...]}; a test fails for any other.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from torch.testing._internal.common_methods_invocations import op_db

from .databases import STATUSES, left_out
from .modules import MODULE_STAGES

Record = dict[str, Any]
GAPS = Path(__file__).with_name("gaps.json")
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
STAGES = dict(zip(("forward", "backward", "gradgrad"), STATUSES[3:]))
COLUMNS = "method", "operator", "inplace", "alias", "out"

# Why a gap is there, where that is known better than its message says: patterns of an item's title.
_TIES = (
    "equal elements come in another order: dtorch's sort is stable, torch's is not for all dtypes"
)
_SIGNS = "the signs of the vectors are LAPACK's choice, and torch's wheel has another LAPACK"
REASONS: dict[str, str] = {
    r"op __r.*__": "Tensor.__radd__(2, 3), called as a function, is no use that scripts make of it",
    r"op (sort|argsort|topk|kthvalue)": _TIES,
    r"op (linalg.eigh?|svd_lowrank)": _SIGNS,
    r"op special.bessel_.*": "torch's values are off by up to 1.6e-7; SciPy's are right to 1e-16",
    r"op as_strided_scatter": "torch gives an overwritten element a gradient",
    r"op native_layer_norm": "torch's value for one element is rounding noise",
    r"op masked.logaddexp": "at -inf torch's second derivative is NaN",
    r"op matrix_exp": "computed in float32, where torch overflows",
    r"op nn.functional.(soft_margin|hinge_embedding)_loss": "computed in float32, torch rounds between",
    r"op nn.functional.(interpolate|upsample).*": "uint8: torch's fixed-point weights round otherwise",
    r"op (unbind|split_with_sizes)_copy": "dtorch returns what out= was given, torch returns None",
    r"op nn.functional.linear_cross_entropy.chunked": "has second derivatives, torch's has none",
    r"module CTCLoss": "one value in 2250 within float32's rounding of it: torch's is farther off",
    r"module Parameter(List|Dict)": "says dtorch where torch says torch",
    r"op (complex|view_as_complex)": "there is no complex32 in NumPy",
}


def title(record: Record) -> str:
    return f"{record['kind']} {record['name']}"


def gaps(record: Record) -> list[str]:
    """What this item does in torch and not in dtorch: stages, ways to call it, dtypes, errors."""
    if record["kind"] == "optimizer":
        return [f"{name}: {stage}" for name, (stage, _) in record["configs"].items() if stage]
    if record["kind"] != "op":
        stages = (*MODULE_STAGES, "repr") if record["kind"] == "module" else ("lr", "state")
        return [stage for stage in stages if stage not in record.get("passed", ())]
    reached, goal = (STATUSES.index(record[key]) for key in ("status", "goal"))
    found = [stage for stage, s in STAGES.items() if reached < STATUSES.index(s) <= goal]
    found += [name for name, why in record.get("variants", {}).items() if why]
    found += [f"dtype {name}" for name in record.get("wrong dtypes", {})]
    good, total = record.get("errors", (0, 0))
    return found + [f"error {i + 1}" for i in range(total - good)]


def known_gaps() -> dict[str, list[str]]:
    return json.loads(GAPS.read_text())  # type: ignore[no-any-return]


def write_gaps(records: list[Record]) -> None:
    """Make what fails now the ratchet."""
    found = {title(r): gaps(r) for r in sorted(records, key=title) if gaps(r)}
    GAPS.write_text(json.dumps(found, indent=0) + "\n")


# ---- counts --------------------------------------------------------------------------------------


def figures(records: list[Record]) -> dict[str, tuple[int, int]]:
    """{name: (how many are right, of how many)}"""
    kinds: dict[str, list[Record]] = {"op": [], "module": [], "optimizer": [], "scheduler": []}
    for record in records:
        kinds[record["kind"]].append(record)
    result: dict[str, tuple[int, int]] = {}
    for tier in ("core", "all") if kinds["op"] else ():
        ops = [r for r in kinds["op"] if r["core"] or tier == "all"]
        result |= {f"{tier}.{name}": count for name, count in _op_figures(ops).items()}
    for kind in "module", "scheduler":
        if kinds[kind]:
            done = sum(not gaps(r) for r in kinds[kind])
            result[f"{kind}s.done"] = done, len(kinds[kind])
    if kinds["optimizer"]:
        configs = sum(len(r["configs"]) for r in kinds["optimizer"])
        result["optimizers.done"] = configs - sum(len(gaps(r)) for r in kinds["optimizer"]), configs
    return result


def _op_figures(ops: list[Record]) -> dict[str, tuple[int, int]]:
    result = {"done": (sum(r["status"] == r["goal"] for r in ops), len(ops))}
    for stage, status in STAGES.items():
        level = STATUSES.index(status)
        wanted = [r for r in ops if STATUSES.index(r["goal"]) >= level]
        result[stage] = sum(STATUSES.index(r["status"]) >= level for r in wanted), len(wanted)
    for column in COLUMNS:
        tried = [r["variants"][column] for r in ops if column in r.get("variants", {})]
        result[column] = sum(not why for why in tried), len(tried)
    for column in "errors", "dtypes", "samples":
        pairs = [r[column] for r in ops if column in r]
        result[column] = sum(good for good, _ in pairs), sum(total for _, total in pairs)
    return result


def summary(records: list[Record]) -> str:
    lines: dict[str, list[str]] = {}
    for name, (good, of) in figures(records).items():
        group, _, column = name.partition(".")
        lines.setdefault(group, []).append(f"{column} {good}/{of}")
    return "\n".join(f"{group}: {', '.join(columns)}" for group, columns in lines.items())


# ---- the page ------------------------------------------------------------------------------------

HEAD = """# Conformance

How much of PyTorch's behaviour dtorch reproduces, by the test databases that ship inside PyTorch
(OpInfo, ModuleInfo, OptimizerInfo): each sample runs in both, on the same values. Written by
`python -m tests.conformance --write`; the test suite fails where something is lost.

An op is done when its values, gradients and second gradients are torch's, as far as torch has them.
Beside that: its method, operator, in-place and out= forms, whether its result shares memory (alias),
dtypes other than float32 and float64, and whether wrong calls are refused (errors).
"""


def namespace(name: str) -> str:
    name = name.split("|")[0]
    return name.rpartition(".")[0] or ("operators" if name.startswith("__") else "torch")


def page(records: list[Record]) -> str:
    """docs/conformance.md"""
    counts = figures(records)
    ops = [r for r in records if r["kind"] == "op"]
    columns = list(_op_figures([]))
    spaces = list(dict.fromkeys(namespace(r["name"]) for r in ops))
    table = [["ops in", *columns], ["---"] * (len(columns) + 1)]
    for space in spaces:
        here = _op_figures([r for r in ops if namespace(r["name"]) == space])
        table.append([space, *(f"{good}/{of}" if of else "" for good, of in here.values())])
    for tier in "core", "all":
        table.append([f"**{tier}**", *("{}/{}".format(*counts[f"{tier}.{c}"]) for c in columns)])
    rest = [f"- {name}: {good} of {of}" for name, (good, of) in counts.items() if "s." in name]
    out = Counter(filter(None, map(left_out, op_db)))
    missing = [_gap_line(r) for r in sorted(records, key=title) if gaps(r)]
    return "\n".join([
        HEAD, *(f"| {' | '.join(row)} |" for row in table), "",
        "Core are the ops that training scripts use most. Not counted: "
        + ", ".join(f"{n} ({why})" for why, n in out.items()) + ".",
        "", *rest, "", "## What is not there, and why", "", *missing, "",
    ])  # fmt: skip


def _gap_line(record: Record) -> str:
    reasons = (why for pattern, why in REASONS.items() if re.fullmatch(pattern, title(record)))
    why = next(reasons, None) or _message(record)
    return f"- `{title(record)}` ({', '.join(gaps(record))}): {why}"


def _message(record: Record) -> str:
    """The first thing that went wrong, in one line."""
    found = [record["why"], *record.get("variants", {}).values()]
    found += record.get("wrong dtypes", {}).values()
    found += ["a wrong call is not refused"] if "errors" in record else []
    text = re.sub(r"\s+", " ", next(filter(None, found)))
    return "`" + re.sub(r" *\[SampleInput.*", "", text)[:160].replace("|", r"\|") + "`"
