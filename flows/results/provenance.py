"""Whether a result was made in another way than this machine computes: other precision, device or backend.

Bits are then others, and a score differs by what this says. reports/made_on.json says it.
"""

from __future__ import annotations

import json
from pathlib import Path

from flows.host import capability
from flows.repo.git import at
from tasks.device.precision import precision
from tasks.params import PARAMS_FILE, parse
from tasks.params.document import validate
from tasks.run.provenance import MADE_ON

POINTS = 0.3  # of test accuracy between bfloat16 and float32, of one seed: docs/staleness.md
KEYS = ("precision", "device", "backend")


def made_elsewhere(root: Path, commit: str | None = None) -> str:
    """Say how the result was made, where this machine would make another; empty where it would not, or nobody knows.

    Parameters
    ----------
    root : Path
        The project, whose parameters leave to the machine what they do not decide.
    commit : str, optional
        That of the result; by default it is the one in the workspace.
    """
    try:
        made = json.loads((at(root, commit, MADE_ON) or b"{}") if commit else (root / MADE_ON).read_bytes())
        then, now = [str(made[key]) for key in KEYS], _now(root)
        made_by = str(made["cpu"]) if then[1] == "cpu" else then[1]
    except (OSError, RuntimeError, ValueError, LookupError, TypeError):  # advice, which nothing fails for
        return ""
    if then == now:
        return ""
    how = [side[0].removeprefix("mixed_") + (f" by {side[2]}" if then[2] != now[2] else "") for side in (then, now)]
    here = f" on {now[1]}" if then[1] != now[1] else ""
    return (
        f"made in {how[0]} on {made_by}; this machine computes in {how[1]}{here}: "
        f"expect differences of about {POINTS} points"
    )


def _now(root: Path) -> list[str]:
    """What a training here would compute with, in the order of KEYS."""
    params = validate(parse(root / PARAMS_FILE), str(PARAMS_FILE))
    device, fastest = capability.resolve_device(params.train.device)
    chosen = precision(params.model, params.train)
    return [fastest if chosen == "auto" else chosen, device, capability.backend()]
