"""Signals that end a program: Ctrl-C, SIGTERM, and a terminal that closes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)


def end_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP in a program that serves.

    SIGTERM and SIGHUP arrive as SIGINT, for which asyncio has a handler, unless they are ignored, as by `nohup`. A
    shell that starts the program in the background has SIGINT ignored, and it counts nevertheless.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM, whatever libraries make of it."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> NoReturn:
        interrupted.set()
        raise KeyboardInterrupt

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a script's background jobs
            signal.signal(number, interrupt)
    try:
        yield
    except BaseException:  # asyncio.CancelledError is no Exception
        if interrupted.is_set():
            raise KeyboardInterrupt from None
        raise


@contextmanager
def reraise_swallowed_signals() -> Iterator[Callable[[], None]]:
    """Yield a function that calls the handler of a swallowed signal again.

    Ctrl-C or a cancellation that arrives while Prefect's client waits for the server gets lost there.
    """
    received: list[Callable[[], Any]] = []

    def remember(handler: Any, number: int, frame: Any) -> None:
        received.append(lambda: handler(number, frame))
        handler(number, frame)

    def raise_again() -> None:
        if received:
            received.pop()()

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if callable(handler := signal.getsignal(number)):
                replaced[number] = signal.signal(number, partial(remember, handler))
    try:
        yield raise_again
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
