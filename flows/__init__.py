"""When and where the stages run: orchestration, which never imports TensorFlow."""

import tasks  # noqa: F401  # sanitizes the environment before Prefect reads it
