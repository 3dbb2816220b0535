"""Damage to files, and its repair."""

import sys
from pathlib import Path

from tests.support.clone import Clone


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def run_doctor(clone: Clone, status: int = 0) -> list[str]:
    """Run `make doctor`; its lines."""
    return clone.run(sys.executable, "-m", "flows.doctor", status=status).splitlines()
