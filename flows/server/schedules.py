"""`python -m flows.server.schedules`: remove this project's schedules before `prefect deploy --all`.

`prefect deploy` 3.8 leaves those on the server that prefect.yaml no longer has. Other projects keep theirs.
"""

import argparse
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from ruamel.yaml import YAML


def remove_schedules(root: Path) -> None:
    """Remove the schedules of a project's deployments, and the runs they planned."""
    deployments = YAML(typ="safe").load(root / "prefect.yaml")["deployments"]
    own = {(deployment["entrypoint"], deployment["name"]) for deployment in deployments}
    named = DeploymentFilter(name=DeploymentFilterName(any_=sorted({name for _, name in own})))
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments(deployment_filter=named):
            if (deployment.entrypoint, deployment.name) in own:
                for schedule in deployment.schedules:
                    client.delete_deployment_schedule(deployment.id, schedule.id)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m flows.server.schedules", description=remove_schedules.__doc__).parse_args()
    remove_schedules(Path.cwd())
