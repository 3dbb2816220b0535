"""Results of another precision, device or backend than this machine's."""

import json
from pathlib import Path

from flows.host import capability
from flows.repo.git import read_blob
from tasks.params import PARAMS_FILE, parse_text
from tasks.params.document import validate
from tasks.run.provenance import MADE_ON

POINTS = 0.3  # of test accuracy between bfloat16 and float32, of one seed: docs/staleness.md


def made_elsewhere(root: Path, commit: str | None = None) -> str:
    """Describe how a result was made, if this machine differs; else ""."""
    try:
        made = json.loads((read_blob(root, commit, MADE_ON) or b"{}") if commit else (root / MADE_ON).read_bytes())
        text = (read_blob(root, commit, PARAMS_FILE) or b"") if commit else (root / PARAMS_FILE).read_bytes()
        params = validate(parse_text(text.decode(), str(PARAMS_FILE)), str(PARAMS_FILE))
        device, fastest = capability.resolve_device(params.train.device)
        now = [fastest if params.train.precision == "auto" else params.train.precision, device, capability.backend()]
        then = [str(made[key]) for key in ("precision", "device", "backend")]
        made_by = str(made["cpu"]) if then[1] == "cpu" else then[1]
    except (OSError, RuntimeError, ValueError, LookupError, TypeError):  # it is advice: nothing fails without it
        return ""
    if then == now:
        return ""
    how = [side[0].removeprefix("mixed_") + (f" by {side[2]}" if then[2] != now[2] else "") for side in (then, now)]
    here = f" on {now[1]}" if then[1] != now[1] else ""
    return (
        f"made in {how[0]} on {made_by}; this machine computes in {how[1]}{here}: "
        f"expect differences of about {POINTS} points"
    )
