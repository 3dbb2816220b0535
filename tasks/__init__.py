"""The steps of the pipeline, a module for each stage.

This file does what must precede every other import.
"""

import os
import sys
from importlib.util import find_spec

from tasks.run import environment

if missing := [name for name in ("keras", "pydantic", "ruamel.yaml", "sklearn") if not find_spec(name.split(".")[0])]:
    sys.exit(
        f"error: {sys.executable} lacks the project's packages ({', '.join(missing)}); run `make setup`, "
        "then `source .venv/bin/activate`, and try again"
    )

PARENT_PID = os.getppid()  # read now, as the parent may be killed while other modules are imported

environment.sanitize_environment(os.environ)
environment.escape_unprintable_output()
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
