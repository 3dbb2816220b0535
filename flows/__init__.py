"""When and where the stages run: orchestration, which never imports TensorFlow."""

import os
import sys
from pathlib import Path

import tasks  # noqa: F401  # sanitizes the environment before Prefect reads it

if (path := os.environ.get("SSL_CERT_FILE")) and not Path(path).exists():  # Prefect would end in a trace
    sys.exit(f"error: SSL_CERT_FILE must name a file; received {path}, which is gone; try: unset SSL_CERT_FILE")
