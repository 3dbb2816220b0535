"""When and where the stages run: orchestration, which never imports TensorFlow."""

import os

# Read by Prefect's client when it is imported, from the environment alone.
os.environ.setdefault("DO_NOT_TRACK", "1")
