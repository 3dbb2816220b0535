"""What several test files share; a test module never imports another one."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
