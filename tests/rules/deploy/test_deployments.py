"""Deployments: fields and inventory as one description, and what is wrong with either told at once."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from slipway.deploy.rules.deployment import (
    DeploymentRequest,
    DescribedDeployment,
    NodeDeploymentFieldSet,
)
from tests.rules.workspace import Workspace, make_build

BUILD = 'node_deployment(**dict(dict(name="prod", release=":release", path="/home/app/x"), {}))\n'
HOSTS = 'hosts=["h1", "h2"]'


def describe(workspace: Workspace, fields: str, **files: str) -> Dict[str, Any]:
    workspace.write_app("app", BUILD=make_build() + BUILD.replace("{}", fields), **files)
    target = workspace.target("app:prod")
    request = DeploymentRequest(NodeDeploymentFieldSet.create(target))
    described: Dict[str, Any] = json.loads(workspace.request(DescribedDeployment, request).text)
    return described


def test_fields_and_inventory_are_one_description(workspace: Workspace) -> None:
    inventory = 'hosts = ["h1", "h2"]\nkeep = 9\nbatch = "25%"\n[health]\nhold = 2\n'
    fields = 'inventory="prod.toml", batch="2", health={"retries": "3"}'
    described = describe(workspace, fields, **{"prod.toml": inventory})
    assert described["hosts"] == ["h1", "h2"]
    assert (described["keep"], described["batch"]) == (9, "2")
    assert described["health"] == {"retries": 3}
    assert described["server_env"] == "prod"


def test_without_an_inventory_the_fields_are_all(workspace: Workspace) -> None:
    described = describe(workspace, f'{HOSTS}, user="app", shared=["uploads"]')
    assert (described["user"], described["shared"], described["keep"]) == ("app", ["uploads"], 5)


WRONG = {
    'hosts=["a; rm -rf /"]': "hosts = ['a; rm -rf /']: write it like app1.example.com",
    f'{HOSTS}, path="relative"': "path = 'relative'",
    f'{HOSTS}, batch="0"': "batch = '0'",
    f'{HOSTS}, health={{"urll": "x"}}': "health.urll: unknown setting; did you mean health.url?",
    f'{HOSTS}, release=":bundle"': "app:bundle, a node_app_bundle",
    f"{HOSTS}, release=None": "has no release",
    'inventory="none.toml"': 'the inventory "app/none.toml" does not exist',
    'inventory="bad.toml"': 'the inventory "app/bad.toml" is not TOML',
    "canary=1": "hosts is missing",
}


@pytest.mark.parametrize("fields", WRONG)
def test_wrong_deployments_are_told(workspace: Workspace, fields: str) -> None:
    with pytest.raises(Exception, match=r".") as raised:
        describe(workspace, fields, **{"bad.toml": 'hosts "h1"'})
    assert WRONG[fields] in str(raised.value)
    assert "app" in str(raised.value)
