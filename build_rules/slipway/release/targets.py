"""The target type `release_tarball` and its fields; each help text has an example."""

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
    """A dependencies field with one address.

    Pants selects the matching variant of a parametrized target only in `Dependencies` fields.
    """

    alias = "bundle"
    required = True
    help = help_text(
        """
        The `node_app_bundle` to release. If that target is parametrized, Pants selects the variant
        with the same `server_env`.

        Example: `bundle=":bundle"`.
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
        Where the static files go: into a separate archive beside the release (`separate`), into the
        folder `static_dir` of the release (`include`), or nowhere (`none`).

        Example: `static="include"`.
        """
    )


class SmokeScriptField(StringField):
    alias = "smoke_script"
    help = help_text(
        """
        A script of package.json that Slipway runs in the unpacked release before it writes the
        tarball. The script sees only the release's files and has no network access. If the script
        fails, the build fails.

        Example: `smoke_script="smoke"`.
        """
    )


class RunScriptField(StringField):
    alias = "run_script"
    default = "serve"
    help = help_text(
        """
        The script of package.json that runs the application in the foreground, for `./pants run`
        and `bin/app run-foreground`. `./pants run` sets `LOG_DIR` to a temporary folder. The
        application should write its logs and its pid file there. The build fails if the script runs a
        file or a program that the release does not contain. With an empty string, the release has
        no such script.

        Example: `run_script="serve"`.
        """
    )


class StartProbeField(StringField):
    alias = "start_probe"
    default = "listen"
    valid_choices = ("listen", "run", "off")
    help = help_text(
        """
        How Slipway tries the release before it writes the tarball. It starts the unpacked release
        with its `run_script`, in a network of its own without access to anything else, with a
        random `PORT`. With `listen`, the release must listen on a port within 30 seconds. With
        `run`, it must run for 5 seconds: use this for workers, which do not listen. With `off`,
        Slipway does not start the release.

        A release that lacks a module, a file or a program is an error. A release that ends because
        it finds no database or no configuration is a warning.

        Example: `start_probe="run"`.
        """
    )


class EnvFileField(StringField):
    alias = "env_file"
    help = help_text(
        """
        A file on the host with lines of the form `NAME=value`. `bin/app` sets these environment
        variables. Use the file for secrets, which do not belong in a release. If the file is
        missing, the application does not start.

        Example: `env_file="/etc/koa-kkl/env"`.
        """
    )


class OldUserlandField(OneAddressField):
    alias = "old_userland"
    help = help_text(
        """
        A `node_toolchain` with the programs and libraries of your oldest hosts, such as a ready-made
        image. Slipway also runs the smoke script in this image: it unpacks the finished tarball
        with the image's own tar and gzip.

        Example: `old_userland="//hosts/centos7"`.
        """
    )


class AllowNetworkField(BoolField):
    alias = "allow_network"
    default = False
    help = help_text(
        """
        Accepts a bundle with `network="allow"`. The release is then not reproducible, and its
        release.json says so. By default Slipway rejects such a bundle.

        Example: `allow_network=True`.
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
        StartProbeField,
        EnvFileField,
        OldUserlandField,
        AbiWaiversField,
        AllowNetworkField,
        OutputPathField,
    )
    help = help_text(
        """
        A reproducible tarball that contains its own Node and starts on hosts without Node.

        `package` writes `<app>-<version>-<env>.tar.gz`, its static archive and its release.json.
        `run` unpacks the tarball to a temporary folder and starts the application.
        """
    )
