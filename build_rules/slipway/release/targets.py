"""The target type `release_tarball` and its fields; each help text carries an example."""

from __future__ import annotations

from typing import Any

from pants.core.goals.package import OutputPathField
from pants.engine.addresses import Address
from pants.engine.target import (
    COMMON_TARGET_FIELDS,
    BoolField,
    Dependencies,
    InvalidFieldTypeException,
    StringField,
    Target,
)
from pants.util.strutil import help_text

from slipway.bundle.targets import (
    ServerEnvField,
)
from slipway.core.targets import OneAddressField
from slipway.npm.targets import (
    AbiWaiversField,
)


class BundleField(Dependencies):
    """A kind of dependencies field, because Pants picks the matching one of a parametrized target
    for these alone."""

    alias = "bundle"
    required = True
    help = help_text(
        """
        The `node_app_bundle` to release; of a parametrized one, that of the same `server_env`.

        For example: `bundle=":bundle"`.
        """
    )

    @classmethod
    def compute_value(cls, raw_value: Any, address: Address) -> Any:
        if raw_value is not None and not isinstance(raw_value, str):
            raise InvalidFieldTypeException(
                address, cls.alias, raw_value, expected_type="the address of one target, a string"
            )
        return super().compute_value([raw_value] if raw_value is not None else None, address)


class StaticField(StringField):
    alias = "static"
    default = "separate"
    valid_choices = ("separate", "include", "none")
    help = help_text(
        """
        What becomes of the static files: an archive of their own beside the release (`separate`),
        a part of the release in `static_dir` (`include`), or neither (`none`).

        For example: `static="include"`.
        """
    )


class SmokeScriptField(StringField):
    alias = "smoke_script"
    help = help_text(
        """
        A script of package.json that must succeed in the staged release, with only the release's
        files there and no network, before the release counts as built.

        For example: `smoke_script="smoke"`.
        """
    )


class RunScriptField(StringField):
    alias = "run_script"
    default = "serve"
    help = help_text(
        """
        The script of package.json that runs the application in the foreground, for
        `./pants run` and `bin/app run-foreground`. `./pants run` sets `LOG_DIR` to a scratch
        folder, where the application's logs and its pid file belong.

        For example: `run_script="serve"`.
        """
    )


class EnvFileField(StringField):
    alias = "env_file"
    help = help_text(
        """
        A file on the host with `NAME=value` lines that `bin/app` puts into the environment, for
        secrets that no release should hold. One that is missing is an error at start.

        For example: `env_file="/etc/koa-kkl/env"`.
        """
    )


class OldUserlandField(OneAddressField):
    alias = "old_userland"
    help = help_text(
        """
        A `node_toolchain`, such as a ready image by its archive and hash, with the programs and
        libraries of the oldest hosts: the smoke script also runs in there, from the finished
        tarball, unpacked by that system's own tar and gzip.

        For example: `old_userland="//hosts/centos7"`.
        """
    )


class AllowNetworkField(BoolField):
    alias = "allow_network"
    default = False
    help = help_text(
        """
        Takes a bundle with `network="allow"`: the release is not reproducible then, and its
        release.json says so.

        For example: `allow_network=True`.
        """
    )


class ReleaseTarball(Target):
    alias = "release_tarball"
    core_fields = (
        *COMMON_TARGET_FIELDS,
        BundleField,
        ServerEnvField,
        StaticField,
        SmokeScriptField,
        RunScriptField,
        EnvFileField,
        OldUserlandField,
        AbiWaiversField,
        AllowNetworkField,
        OutputPathField,
    )
    help = help_text(
        """
        A reproducible tarball that carries its own Node and starts on hosts that have none.

        `package` writes `<app>-<version>-<env>.tar.gz`, its static archive and its release.json;
        `run` unpacks it to a scratch folder and starts it.
        """
    )
