"""Signals that end a command or a server."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from flows.command_line import exit_status
from flows.host.signals import end_on_signals
from tests.support.serving import heed_interrupts


@pytest.fixture(autouse=True)
def heeding() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heed_interrupts()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("became", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_a_library_turns_into_another_error_is_reported_as_one(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, became: type[BaseException]
) -> None:
    def run() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise became from None

    assert exit_status(run, "every child was ended") == 130
    assert capsys.readouterr().err == "error: interrupted; every child was ended\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_ends_a_program_that_serves_also_in_the_background(number: signal.Signals) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with what it runs in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    end_on_signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_on_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
