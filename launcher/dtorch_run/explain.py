"""A plan for the eye: every decision and where it comes from, and the commands themselves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from dtorch_run.plan import Plan


def explain(plan: Plan) -> str:
    """What --explain prints: a line a decision with its value and its source, then remarks."""
    rows = [(decision.what, decision.value, decision.source) for decision in plan.decisions]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{what:<{wide[0]}}  {value:<{wide[1]}}  ({source})" for what, value, source in rows]
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def show(plan: Plan, env: Mapping[str, str]) -> str:
    """What --dry-run prints: the plan, and of each environment what differs from `env`."""
    lines = [f"{plan.size} ranks, started by {plan.starter}, {plan.threads} BLAS threads a rank"]
    if plan.starter == "adopted":
        lines = ["this process is a rank already, and becomes the script"]
    for command in plan.commands:
        changes = [
            f"{name}={shlex.quote(value)}"
            for name, value in command.env.items()
            if env.get(name) != value
        ]
        lines.append(" ".join([*changes, shlex.join(command.argv)]))
    return "\n".join(lines)


def record(plan: Plan, env: Mapping[str, str]) -> str:
    """The plan as JSON, for the job's folder; of the environment what dtorch-run has changed."""
    commands: list[dict[str, Any]] = []
    for command in plan.commands:
        changes = {k: v for k, v in command.env.items() if env.get(k) != v}
        cores = None if command.cores is None else list(command.cores)
        commands.append(
            {"rank": command.rank, "argv": list(command.argv), "cores": cores, "env": changes}
        )
    text = {
        "job": plan.job, "starter": plan.starter, "ranks": plan.size, "hosts": plan.hosts.size,
        "node_rank": plan.hosts.node, "threads": plan.threads, "timeout": plan.timeout,
        "max_restarts": plan.max_restarts, "commands": commands,
        "decisions": [decision._asdict() for decision in plan.decisions],
    }  # fmt: skip
    return json.dumps(text, indent=1)
