"""The native addons that an application links, compiled for the Node of its bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import (
    PathGlobs,
    Paths,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import WrappedTarget, WrappedTargetRequest

from slipway.bundle.rules.app import App, AppRequest, NodeAppBundleFieldSet
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.named_target import take_as
from slipway.core.rules.registration import Rules
from slipway.npm.rules.addon import Addon, AddonRequest, NodeAddonFieldSet
from slipway.npm.targets import NodeAddon
from slipway.runtime.rules.node import Runtime


@dataclass(frozen=True)
class AddonOfApp:
    """An addon; `path` is its folder in the application."""

    path: str
    addon: Addon


@dataclass(frozen=True)
class AddonsOfApp:
    """The native addons of an application."""

    addons: Tuple[AddonOfApp, ...]


async def _require_compiled(
    app: App, compiled: Sequence[str], field_set: NodeAppBundleFieldSet
) -> None:
    """Raises SlipwayErrors for linked folders with a binding.gyp that are not in `addons`.

    Without compilation such a folder would fail to load in a release.
    """
    left = [one for one in app.read.lock.link_targets if one not in compiled]
    there = await Get(
        Paths, PathGlobs([os.path.join(field_set.top, one, "binding.gyp") for one in left])
    )
    if there.files:
        raise SlipwayErrors(
            "linked folders contain native addons that are not in the field addons",
            there.files,
            where=f"{field_set.origin}, field addons",
            next=f"add a BUILD file with node_addon() to each folder, and set "
            f'addons=["//{os.path.dirname(there.files[0])}"] in the bundle',
        )


@rule
async def find_addons(request: AppRequest) -> AddonsOfApp:
    field_set = request.field_set
    field, where = field_set.addons, f"{field_set.origin}, field addons"
    app, runtime, addresses = await MultiGet(
        Get(App, AppRequest, request),
        Get(Runtime, AppRequest, request),
        Get(Addresses, UnparsedAddressInputs, field.to_unparsed_address_inputs()),
    )
    if addresses and (runtime.build is not None or not runtime.has_headers):
        raise SlipwayError(
            f"{runtime.label} has no headers for native addons",
            where=where,
            found=", ".join(field.value or ()),
            next="remove the addons, or use a runtime whose definition has headers",
        )
    targets = await MultiGet(
        Get(WrappedTarget, WrappedTargetRequest(one, description_of_origin=where))
        for one in addresses
    )
    found: List[Tuple[str, NodeAddonFieldSet]] = []
    for wrapped in targets:
        addon = take_as(
            NodeAddonFieldSet,
            NodeAddon.alias,
            wrapped.target,
            what="an addon of a bundle",
            where=where,
        )
        path = os.path.relpath(addon.folder, field_set.top or ".")
        if path not in app.read.lock.link_targets:
            raise SlipwayError(
                f'the application does not link the addon "{addon.origin}"',
                where=where,
                found=f"no link to {path} in {app.read.lock.path}",
                next=f"cd {field_set.top or '.'} && npm install ./{path}",
            )
        found.append((path, addon))
    await _require_compiled(app, [path for path, _ in found], field_set)
    addons = await MultiGet(Get(Addon, AddonRequest(one, runtime)) for _, one in found)
    return AddonsOfApp(tuple(AddonOfApp(path, addon) for (path, _), addon in zip(found, addons)))


def rules() -> Rules:
    return collect_rules()
