"""Numbers as text, rounded, so that a difference is one to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DIGITS = 6


def to_json(content: Mapping[str, Any]) -> str:
    """Write numbers as indented JSON, rounded."""
    return json.dumps(rounded(content), indent=2, ensure_ascii=False) + "\n"


def rounded(value: Any) -> Any:
    """Round a number, or all numbers in mappings and lists."""
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value
