"""When and where the stages run: orchestration, which never imports TensorFlow."""

import tasks  # noqa: F401  # settles what this process and its children inherit, before Prefect reads it
