"""A Python process on JAX, for tests that are skipped without it."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.support import ROOT

needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="the extra jax is not installed")


def on_jax(*command: str) -> str:
    """Run Python on JAX, and return its output."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, *command], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
