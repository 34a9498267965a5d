"""What tests of deploys have in common, whatever their hosts are."""

from __future__ import annotations

import abc
import contextlib
from pathlib import Path
from typing import Callable, List

from slipway.core.errors import SlipwayError
from slipway.deploy import shipped_release
from slipway.deploy.deployment import Deployment
from slipway.deploy.flow import Coordinator
from slipway.deploy.session import Session


class Shipping(abc.ABC):
    """`said` is what the coordinator told; `deployment` may be replaced."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.said: List[str] = []

    @abc.abstractmethod
    def connect(self, name: str) -> Session: ...

    def run(self, step: Callable[[Coordinator], None]) -> Coordinator:
        coordinator = Coordinator(
            self.deployment, self.connect, lambda text, host: self.said.append(f"{host}: {text}")
        )
        try:
            step(coordinator)
        finally:
            coordinator.close()
        return coordinator

    def deploy(self, manifest: Path) -> Coordinator:
        release = shipped_release.read(str(manifest))
        return self.run(lambda coordinator: coordinator.deploy(release))

    def attempt(self, manifest: Path) -> Coordinator:
        """Also of a deploy that its budget ended, what the hosts came to."""
        release = shipped_release.read(str(manifest))

        def deploy(coordinator: Coordinator) -> None:
            with contextlib.suppress(SlipwayError):
                coordinator.deploy(release)

        return self.run(deploy)
