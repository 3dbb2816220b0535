"""The steps of the pipeline, one module per stage; `python -m tasks.<stage>` runs one.

What must hold before anything else is imported stands here: the interpreter has the project's packages, the caller's
surroundings decide nothing, and Keras runs on TensorFlow unless the environment names another backend.
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

PARENT_PID = os.getppid()  # before the seconds that imports take, in which the parent may be killed

environment.settle(os.environ)
environment.show_any_text()
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
