"""Remove the schedules of this project's deployments, before `prefect deploy --all`.

`python -m flows.server.schedules`

`prefect deploy` 3.8 adds the schedules in prefect.yaml, and leaves those on the server that were removed from the file.
Deployments of other projects on the same server keep theirs.
"""

import argparse
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from ruamel.yaml import YAML


def remove_schedules(root: Path) -> None:
    """Remove all schedules of a project's deployments, with the runs that they planned."""
    deployments = YAML(typ="safe").load(root / "prefect.yaml")["deployments"]
    own = {(deployment["entrypoint"], deployment["name"]) for deployment in deployments}
    named = DeploymentFilter(name=DeploymentFilterName(any_=sorted({name for _, name in own})))
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments(deployment_filter=named):
            if (deployment.entrypoint, deployment.name) in own:
                for schedule in deployment.schedules:
                    client.delete_deployment_schedule(deployment.id, schedule.id)


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m flows.server.schedules", description=(__doc__ or "").splitlines()[0]
    ).parse_args()
    remove_schedules(Path.cwd())
