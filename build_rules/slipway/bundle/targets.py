"""The target type `node_app_bundle` and its fields; each help text carries an example."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from pants.engine.addresses import Address
from pants.engine.target import (
    COMMON_TARGET_FIELDS,
    BoolField,
    DictStringToStringField,
    Field,
    InvalidFieldTypeException,
    SpecialCasedDependencies,
    StringField,
    StringSequenceField,
    Target,
)
from pants.util.frozendict import FrozenDict
from pants.util.strutil import help_text

from slipway.core.targets import GlobsField, OneAddressField
from slipway.npm.targets import (
    InstallScriptsField,
    NpmLockField,
    PackageJsonField,
    ToolchainField,
)


class RuntimeField(OneAddressField):
    alias = "runtime"
    help = help_text(
        """
        The `node_runtime` that installs, builds and runs the application; usually set once for all
        applications, by `__defaults__` in the top BUILD file.

        For example: `runtime="//toolchains/node:16.20.2"`.
        """
    )


class AddonsField(SpecialCasedDependencies):
    alias = "addons"
    help = help_text(
        """
        The `node_addon` targets of folders that package.json links into the application, by
        `"file:addons/hello"`. Each is compiled for the Node of this bundle.

        For example: `addons=["//apps/koa-kkl/addons/hello"]`.
        """
    )


class NetworkField(StringField):
    alias = "network"
    default = "deny"
    valid_choices = ("deny", "allow")
    help = help_text(
        """
        Whether install scripts and the build script have the machine's network; loopback they have
        always. With `allow` they run again in each session and are never cached, nobody can tell
        what they took, and a release has to agree by `allow_network`.

        For example: `network="allow"`, until what they download is pinned.
        """
    )


class DropForeignBinariesField(BoolField):
    alias = "drop_foreign_binaries"
    default = False
    help = help_text(
        """
        Leaves out of the release the binaries that packages carry for other systems than the
        release's own: Windows, macOS, FreeBSD, musl, Android, other processors. The build script still
        sees them.

        For example: `drop_foreign_binaries=True`.
        """
    )


class BuildSourcesField(GlobsField):
    alias = "build_sources"
    default = (
        "src/**",
        "build/**",
        "*.js",
        "*.cjs",
        "*.mjs",
        "*.ts",
        "tsconfig*.json",
        ".babelrc*",
        ".browserslistrc",
        ".postcssrc*",
    )
    help = help_text(
        """
        What the build script reads, besides package.json and the installed packages. An edit here
        runs the build script again.

        For example: `build_sources=["src/**", "build/**", "webpack.config.js"]`.
        """
    )


class RuntimeSourcesField(GlobsField):
    alias = "runtime_sources"
    default = ("service/**",)
    help = help_text(
        """
        What the release has of the application's own files, besides what the build script writes
        (`build_outputs`). An edit here runs neither the install nor the build script.

        For example: `runtime_sources=["service/**", "!service/**/*.test.js"]`.
        """
    )


class BuildScriptField(StringField):
    alias = "build_script"
    default = "build"
    help = help_text(
        """
        The script of package.json that builds the client. It gets the environment's name as
        SERVER_ENV and, unless `build_args` says otherwise, as its argument. An empty string: there
        is nothing to build.

        For example: `build_script="build"`.
        """
    )


class BuildArgsField(StringSequenceField):
    alias = "build_args"
    default = ("{server_env}",)
    help = help_text(
        """
        What the build script gets as arguments; `{server_env}` stands for the environment's name.
        An empty list is right for a script that ends in a command which would take the name for
        something else, such as `tsc`, `rollup -c` or `vite build`.

        For example: `build_args=["--mode", "{server_env}"]`.
        """
    )


class BuildOutputsField(StringSequenceField):
    alias = "build_outputs"
    default = ("dist",)
    help = help_text(
        """
        Files and folders that the build script writes, relative to the application's folder. One
        that is missing after the build is an error; what the script writes elsewhere is reported
        and left out.

        For example: `build_outputs=["dist", "service/views"]`.
        """
    )


class ServerEnvField(StringField):
    alias = "server_env"
    default = "prod"
    help = help_text(
        """
        The environment that is built for: `stable`, `sit`, `pre` or `prod`, or what
        `[slipway] server_envs` lists. `parametrize` builds several.

        For example: `server_env=parametrize("stable", "sit", "pre", "prod")`.
        """
    )


class BuildEnvField(DictStringToStringField):
    alias = "build_env"
    help = help_text(
        """
        Environment variables for the build script and the smoke script.

        For example: `build_env={"NODE_OPTIONS": "--max-old-space-size=4096"}`.
        """
    )


class LifecycleScriptsField(StringSequenceField):
    alias = "lifecycle_scripts"
    default = ()
    help = help_text(
        """
        The application's own lifecycle scripts that the build needs, run before the build script
        in this order. None runs by itself.

        For example: `lifecycle_scripts=["postinstall"]`.
        """
    )


class StaticDirField(StringField):
    alias = "static_dir"
    default = "dist"
    help = help_text(
        """
        The build output that browsers load and servers don't need; its content becomes the static
        archive. Empty if there is none, and all that is built runs on the server.

        For example: `static_dir="dist"`.
        """
    )


class StaticBaseUrlField(Field):
    alias = "static_base_url"
    default = None
    value: Optional[FrozenDict[str, str]]
    help = help_text(
        """
        The address under which the static files are published, or one for each environment. With
        it, every reference below this address in the built views, HTML and CSS must exist in the
        static archive: its path, from the host on, is the path in `static_dir`.

        For example: `static_base_url="https://static.example.com/dist/"`, or
        `static_base_url={"sit": "https://static-sit.example.com/dist/"}`.
        """
    )

    @classmethod
    def compute_value(cls, raw_value: Any, address: Address) -> Optional[FrozenDict[str, str]]:
        value = super().compute_value(raw_value, address)
        if value is None:
            return None
        by_env = {"": value} if isinstance(value, str) else value
        if not isinstance(by_env, Mapping) or not all(
            isinstance(one, str) for pair in by_env.items() for one in pair
        ):
            expected = "an address, or a dictionary of addresses by server_env"
            raise InvalidFieldTypeException(address, cls.alias, raw_value, expected_type=expected)
        return FrozenDict(by_env)

    def for_env(self, server_env: str) -> str:
        """The address for one environment; empty if there is none to check."""
        by_env = self.value or {}
        return by_env.get(server_env, by_env.get("", ""))


class NodeAppBundle(Target):
    alias = "node_app_bundle"
    core_fields = (
        *COMMON_TARGET_FIELDS,
        PackageJsonField,
        NpmLockField,
        RuntimeField,
        ToolchainField,
        InstallScriptsField,
        AddonsField,
        NetworkField,
        DropForeignBinariesField,
        BuildSourcesField,
        RuntimeSourcesField,
        BuildScriptField,
        BuildArgsField,
        BuildOutputsField,
        ServerEnvField,
        BuildEnvField,
        LifecycleScriptsField,
        StaticDirField,
        StaticBaseUrlField,
    )
    help = help_text(
        """
        A Node.js application, installed by its lock and built for one environment.

        Its parts are three layers: production dependencies, application, static files. Point a
        `release_tarball` at it.
        """
    )
