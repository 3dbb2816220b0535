"""Removes the schedules of the server's deployments: `python -m flows.schedules`, before `prefect deploy --all`.

Prefect adds the schedules that prefect.yaml has, and leaves those on the server that stand there no more.
"""

from __future__ import annotations

import argparse

from prefect.client.orchestration import get_client


def remove_schedules() -> None:
    """Remove all schedules of all deployments, with the runs that are planned by them."""
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            for schedule in deployment.schedules:
                client.delete_deployment_schedule(deployment.id, schedule.id)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m flows.schedules", description=(__doc__ or "").splitlines()[0]).parse_args()
    remove_schedules()
