"""What a process inherits from its caller, settled in one place before anything else runs.

Results depend on inputs, never on who calls: variables that would decide a result or break a run are removed, and
those that a run needs are set. Steps and flows import this first, and `make setup` has every program of `.venv` run it,
so that a plain `dvc repro` or `prefect worker start` starts from the same surroundings.

Not covered: what a program reads before Python runs, such as LD_PRELOAD, and personal settings of git and npm.
Every Python of `.venv` runs this file when it starts, so it imports nothing that takes time, `pathlib` included.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

# Removed, with the reason. A name that ends in `*` stands for all that begin so.
REMOVED = {
    # They point git at the repository of the hook or command that calls (`git rev-parse --local-env-vars`).
    "git's own": "GIT_DIR GIT_WORK_TREE GIT_IMPLICIT_WORK_TREE GIT_COMMON_DIR GIT_INDEX_FILE GIT_PREFIX GIT_NAMESPACE "
    "GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_GRAFT_FILE GIT_SHALLOW_FILE GIT_REPLACE_REF_BASE "
    "GIT_NO_REPLACE_OBJECTS GIT_CEILING_DIRECTORIES GIT_LITERAL_PATHSPECS GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS "
    "GIT_ICASE_PATHSPECS GIT_DEFAULT_HASH GIT_EXTERNAL_DIFF",
    # They name the run of another DVC, inside which this one was started.
    "DVC's": "DVC_ROOT DVC_STAGE DVC_EXP_NAME DVC_EXP_BASELINE_REV",
    # They change numbers: precision, order of sums, number of epochs, layout.
    "the backends'": "KERAS_* TF_* XLA_* JAX_* ONEDNN_DEFAULT_* ONEDNN_MAX_* DNNL_* NVIDIA_TF32_OVERRIDE",
    # They draw figures otherwise, or end the import.
    "matplotlib's": "MPLBACKEND MATPLOTLIBRC",
    # They put other packages before the locked ones, leave assertions out, make warnings fatal or wait at the end.
    "Python's": "PYTHON*",
    # A shell runs what the first two name; the others put colour into lines that are read.
    "the shell's": "BASH_ENV ENV CDPATH FORCE_COLOR CLICOLOR_FORCE PY_COLORS",
    # Messages of git and DVC are read too.
    "the language": "LANGUAGE LC_*",
}

# What a person may choose all the same: which backend computes, on which device, and how much it says.
KEPT = (
    "KERAS_BACKEND TF_CPP_* TF_GPU_* TF_FORCE_GPU_* XLA_PYTHON_* JAX_PLATFORMS "
    "PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONFAULTHANDLER PYTHONUNBUFFERED"
)

SET = {
    "SHELL": "/bin/sh",  # DVC runs the commands of stages with it; a container's user may have none, or fish
    "LC_ALL": "C",  # the only one that every system has; Python's text is UTF-8 all the same
    "PYTHONUTF8": "1",
    "PYTHONUNBUFFERED": "1",
    "KERAS_HOME": os.devnull,  # no keras.json of the user's is read, and none is written
    "DO_NOT_TRACK": "1",
}

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def settle(environ: MutableMapping[str, str]) -> None:
    """Make an environment what the project decides.

    Doing it again changes nothing, so that a child of a settled process may settle too.
    """
    for name in [name for name in environ if _is_removed(name)]:
        del environ[name]
    environ.update(SET)
    _find_programs(environ)
    _reach_loopback(environ)
    _name_the_user(environ)


def _is_removed(name: str) -> bool:
    return _matches(name, " ".join(REMOVED.values())) and not _matches(name, KEPT)


def _matches(name: str, patterns: str) -> bool:
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns.split()
    )


def _find_programs(environ: MutableMapping[str, str]) -> None:
    """Put this interpreter's programs first, as stages call `python`."""
    own = os.path.dirname(sys.executable)
    rest = [folder for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder != own]
    environ["PATH"] = os.pathsep.join([own, *rest])


def _reach_loopback(environ: MutableMapping[str, str]) -> None:
    """Have proxies leave this machine's own servers alone, and give SOCKS its standard name.

    Desktops write `socks://`, which no client for Python takes.
    """
    named = [name for name in environ if name.lower() in PROXIES]
    for name in named:
        if environ[name].startswith("socks://"):
            environ[name] = f"socks5://{environ[name].removeprefix('socks://')}"
    if named:
        direct = ",".join(filter(None, (environ.get("no_proxy"), environ.get("NO_PROXY"))))
        listed = dict.fromkeys([host.strip() for host in direct.split(",") if host.strip()] + list(LOOPBACK))
        environ["no_proxy"] = environ["NO_PROXY"] = "*" if "*" in listed else ",".join(listed)


def _name_the_user(environ: MutableMapping[str, str]) -> None:
    """Give a user without an entry in the system's list a name and a home, which DVC asks for."""
    if sys.platform == "win32":
        return
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        environ.setdefault("USER", f"user-{os.getuid()}")
        environ.setdefault("HOME", "/")


def show_any_text() -> None:
    """Print what a terminal cannot show as an escape, where it would otherwise end the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "environment":  # the hook of .venv, which runs this file in each Python that starts
    settle(os.environ)
