"""The cordon: workers that take no more trials, and why."""

from typing import Any

import anyio
from prefect.client.orchestration import SyncPrefectClient
from prefect.variables import Variable

VARIABLE = "left_out"  # its name on servers that are in use


async def set_cordon(worker: str, reason: str) -> None:
    """Cordon a worker with a reason; an empty reason lifts its cordon."""
    while True:
        stored: Any = await Variable.aget(VARIABLE, default={})
        others = {name: text for name, text in stored.items() if name != worker}
        cordoned = {**others, worker: reason} if reason else others
        if cordoned == stored:
            return
        await Variable.aset(VARIABLE, cordoned, overwrite=True)
        await anyio.sleep(1)  # of workers that write at once the last one wins: read it again


def read_cordoned(client: SyncPrefectClient) -> dict[str, str]:
    """Read the reason of each worker that is cordoned."""
    variable = client.read_variable_by_name(VARIABLE)
    stored: Any = variable.value if variable else None
    return dict(stored) if isinstance(stored, dict) else {}
