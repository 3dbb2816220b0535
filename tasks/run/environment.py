"""The environment of a program: its caller decides no result.

Steps and flows do this first (tasks/__init__.py), and so do `dvc` and `prefect` of `.venv`, by the hook that
`make setup` installs. Not covered: what a program reads before Python runs, such as LD_PRELOAD, and personal settings
of git and npm.
"""

import os
import pwd
import runpy
import sys
from collections.abc import MutableMapping
from fnmatch import fnmatchcase
from pathlib import Path

REMOVED = (
    # They point git at the repository of the hook or command that calls (`git rev-parse --local-env-vars`).
    "GIT_DIR GIT_WORK_TREE GIT_IMPLICIT_WORK_TREE GIT_COMMON_DIR GIT_INDEX_FILE GIT_PREFIX GIT_NAMESPACE "
    "GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_GRAFT_FILE GIT_SHALLOW_FILE GIT_REPLACE_REF_BASE "
    "GIT_NO_REPLACE_OBJECTS GIT_CEILING_DIRECTORIES GIT_LITERAL_PATHSPECS GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS "
    "GIT_ICASE_PATHSPECS GIT_DEFAULT_HASH GIT_EXTERNAL_DIFF "
    # They name the DVC run that started this one.
    "DVC_ROOT DVC_STAGE DVC_EXP_NAME DVC_EXP_BASELINE_REV "
    # They change numbers: precision, order of sums, number of epochs, layout.
    "KERAS_* TF_* XLA_* JAX_* ONEDNN_DEFAULT_* ONEDNN_MAX_* DNNL_* NVIDIA_TF32_OVERRIDE "
    # They change how figures look, or make the import fail.
    "MPLBACKEND MATPLOTLIBRC "
    # They put other packages before the locked ones, skip assertions, or make warnings fatal.
    "PYTHON* "
    # A shell runs the files in the first two; the last three put colour codes into lines that we parse.
    "BASH_ENV ENV CDPATH FORCE_COLOR CLICOLOR_FORCE PY_COLORS "
    # We parse messages of git and DVC.
    "LANGUAGE LC_*"
)

# Exceptions, which people may set: the backend, its device and its log.
KEPT = (
    "KERAS_BACKEND TF_CPP_* TF_GPU_* TF_FORCE_GPU_* XLA_PYTHON_* JAX_PLATFORMS "
    "PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONFAULTHANDLER PYTHONUNBUFFERED"
)

READS_IMAGES = {"repro", "status", "commit", "run", "save"}  # commands of DVC

SET = {
    "SHELL": "/bin/sh",  # DVC runs stages with it; a container's user may have no shell, or fish
    "LC_ALL": "C",  # the only locale that every system has; PYTHONUTF8 keeps Python's text in UTF-8
    "PYTHONUTF8": "1",
    "PYTHONUNBUFFERED": "1",
    "KERAS_HOME": os.devnull,  # the user's keras.json is neither read nor written
    "DO_NOT_TRACK": "1",
}


def sanitize_environment(environ: MutableMapping[str, str]) -> None:
    """Remove and set variables; to repeat it changes nothing."""
    for name in list(environ):
        if _matches(name, REMOVED) and not _matches(name, KEPT):
            del environ[name]
    environ.update(SET)
    _prefer_own_programs(environ)
    _bypass_proxies_on_loopback(environ)
    _name_unlisted_user(environ)


def _matches(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def _prefer_own_programs(environ: MutableMapping[str, str]) -> None:
    """Put this interpreter's folder first in PATH, as stages call `python`."""
    own = str(Path(sys.executable).parent)
    others = [folder for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder != own]
    environ["PATH"] = os.pathsep.join([own, *others])


def _bypass_proxies_on_loopback(environ: MutableMapping[str, str]) -> None:
    """Keep proxies away from this machine's servers, and rename desktops' `socks://`."""
    proxies = [name for name in environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}]
    for name in proxies:
        if environ[name].startswith("socks://"):
            environ[name] = f"socks5://{environ[name].removeprefix('socks://')}"
    if proxies:
        direct = f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')},localhost,127.0.0.1,::1"
        hosts = dict.fromkeys(host.strip() for host in direct.split(",") if host.strip())
        environ["no_proxy"] = environ["NO_PROXY"] = "*" if "*" in hosts else ",".join(hosts)


def _name_unlisted_user(environ: MutableMapping[str, str]) -> None:
    """Set the name and home that DVC needs for an unlisted user."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        environ.setdefault("USER", f"user-{os.getuid()}")
        environ.setdefault("HOME", "/")


def escape_unprintable_output() -> None:
    """Print characters that a terminal cannot show as escapes, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "environment":  # as the hook runs it
    sanitize_environment(os.environ)
    # DVC reads the images before its stages run, and fails in words of its own.
    if not READS_IMAGES.isdisjoint(sys.orig_argv):
        sys.path.insert(0, str(Path(__file__).parents[2]))
        try:
            runpy.run_module("tasks.check_images", run_name="__main__")
        except SystemExit as refused:
            if refused.code == 2:  # and not because .venv lacks a package
                os._exit(2)  # Python is still starting, and would print a trace
        sys.path.pop(0)
