"""A `node_deployment`: its fields and its inventory, as one description of a deployment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple, Type

from pants.core.goals.package import OutputPathField, PackageFieldSet
from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import DigestContents, PathGlobs
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import Field, WrappedTarget, WrappedTargetRequest

from slipway.core.errors import SlipwayError
from slipway.core.rules.named_target import take_as
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.deploy import deployment
from slipway.deploy.targets import (
    BatchField,
    BootField,
    CanaryField,
    DeployPathField,
    DeployPortField,
    DeployUserField,
    HealthField,
    HooksField,
    HostsField,
    InventoryField,
    KeepField,
    MaxUnhealthyField,
    ReleaseField,
    SharedField,
    SshOptionsField,
    StartTimeoutField,
    StaticHostsField,
    StaticKeepField,
    StaticPathField,
    StaticPublishField,
    StopTimeoutField,
)
from slipway.release.rules.contents import ReleaseTarballFieldSet
from slipway.release.targets import ReleaseTarball

_NUMBERS = ("retries", "interval", "timeout", "hold")


@dataclass(frozen=True)
class NodeDeploymentFieldSet(PackageFieldSet):
    required_fields = (ReleaseField, DeployPathField)

    release: ReleaseField
    inventory: InventoryField
    hosts: HostsField
    path: DeployPathField
    user: DeployUserField
    port: DeployPortField
    static_hosts: StaticHostsField
    static_path: StaticPathField
    static_publish: StaticPublishField
    static_keep: StaticKeepField
    keep: KeepField
    batch: BatchField
    canary: CanaryField
    max_unhealthy: MaxUnhealthyField
    start_timeout: StartTimeoutField
    stop_timeout: StopTimeoutField
    health: HealthField
    shared: SharedField
    hooks: HooksField
    boot: BootField
    ssh_options: SshOptionsField
    output_path: OutputPathField

    def described(self) -> Dict[str, Any]:
        """The fields in the form of a TOML file."""
        fields = (
            *(self.hosts, self.path, self.user, self.port, self.static_hosts, self.static_path),
            *(
                self.static_publish,
                self.static_keep,
                self.keep,
                self.batch,
                self.canary,
                self.max_unhealthy,
            ),
            *(self.start_timeout, self.stop_timeout, self.shared, self.boot, self.ssh_options),
        )
        found = {one.alias: _plain(one) for one in fields if one.value not in (None, ())}
        for table in (self.health, self.hooks):
            if table.value:
                found[table.alias] = {key: _number(key, one) for key, one in table.value.items()}
        return found


def _plain(field: Field) -> Any:
    return list(field.value) if isinstance(field.value, tuple) else field.value


def _number(key: str, value: str) -> Any:
    return int(value) if key in _NUMBERS and value.isascii() and value.isdigit() else value


@dataclass(frozen=True)
class DeploymentRequest:
    field_set: NodeDeploymentFieldSet


@dataclass(frozen=True)
class DescribedDeployment:
    """`text` is the deployment as JSON, already validated; `release` is the release to deploy."""

    text: str
    release: ReleaseTarballFieldSet


@rule
async def describe_deployment(request: DeploymentRequest) -> DescribedDeployment:
    field_set, origin = request.field_set, str(request.field_set.address)
    inventory: Dict[str, Any] = {}
    if field_set.inventory.path:
        contents = await Get(DigestContents, PathGlobs([field_set.inventory.path]))
        inventory = _read_inventory(field_set.inventory.path, [one.content for one in contents])
    where = f"{origin}, field release"
    if not field_set.release.value:
        raise SlipwayError(
            f'the deployment "{origin}" has no release', where=where, next='set release=":release"'
        )
    addresses = await Get(
        Addresses, UnparsedAddressInputs, field_set.release.to_unparsed_address_inputs()
    )
    wrapped = await Get(
        WrappedTarget, WrappedTargetRequest(addresses[0], description_of_origin=where)
    )
    release = take_as(
        ReleaseTarballFieldSet,
        ReleaseTarball.alias,
        wrapped.target,
        what="the release of a deployment",
        where=where,
    )
    described = _merged(inventory, field_set.described())
    described["server_env"] = release.server_env.value
    deployment.parse(described, origin)
    return DescribedDeployment(json.dumps(described, sort_keys=True), release)


def _read_inventory(path: str, contents: list[bytes]) -> Dict[str, Any]:
    if not contents:
        raise SlipwayError(
            f'the inventory "{path}" does not exist',
            where=path,
            next="create the file, or correct the field inventory",
        )
    return read_toml(contents[0], path, "inventory", next="correct the file")


_FIELDS_WITH_DEFAULT: Tuple[Type[Field], ...] = (
    *(KeepField, BatchField, CanaryField, StaticKeepField),
    *(MaxUnhealthyField, BootField, StartTimeoutField, StopTimeoutField),
)


def _merged(inventory: Mapping[str, Any], fields: Mapping[str, Any]) -> Dict[str, Any]:
    """Merges both; a field overrides the inventory, unless the field has its default value."""
    defaults = {field.alias: field.default for field in _FIELDS_WITH_DEFAULT}
    said = {
        key: value
        for key, value in fields.items()
        if key not in inventory or defaults.get(key) != value
    }
    return {**inventory, **said}


def rules() -> Rules:
    return collect_rules()
