"""The target type `node_app_bundle` and its fields; each help text has an example."""

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

from slipway.bundle.defaults import BUILD_OUTPUTS, BUILD_SOURCES
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
        The `node_runtime` that installs, builds and runs the application. Usually set once for all
        applications, with `__defaults__` in the top BUILD file.

        Example: `runtime="//toolchains/node:16.20.2"`.
        """
    )


class TrialRuntimeField(RuntimeField):
    """A version instead of an address, which `try-runtime` puts in place of the field of a bundle."""

    @property
    def version(self) -> str:
        (version,) = self.value or ()
        return version


class AddonsField(SpecialCasedDependencies):
    alias = "addons"
    help = help_text(
        """
        The `node_addon` targets that package.json links into the application with a dependency
        such as `"file:addons/hello"`. Slipway compiles each addon for the Node of this bundle.

        Example: `addons=["//apps/koa-kkl/addons/hello"]`.
        """
    )


class NetworkField(StringField):
    alias = "network"
    default = "deny"
    valid_choices = ("deny", "allow")
    help = help_text(
        """
        Whether install scripts and the build script have access to the machine's network. Loopback
        is always available. With `allow`, the scripts run again in each session and Slipway never
        caches their results. Downloads are not locked, so a rebuild may differ, and the
        `release_tarball` must set `allow_network=True`.

        Example: `network="allow"`, until their downloads are pinned.
        """
    )


class NodeModulesField(StringField):
    alias = "node_modules"
    default = "production"
    valid_choices = ("production", "none")
    help = help_text(
        """
        Which installed packages go into the release: those of a production install, or none. Use
        `none` if the build outputs contain everything that the server needs, such as the standalone
        output of Next.js or a single file from a bundler. The build script sees all packages in
        both cases.

        Example: `node_modules="none"`.
        """
    )


class DropForeignBinariesField(BoolField):
    alias = "drop_foreign_binaries"
    default = False
    help = help_text(
        """
        Removes from the release the binaries that packages contain for other systems: Windows,
        macOS, FreeBSD, musl, Android, other processors. By default the release keeps them. The build
        script sees them in both cases.

        Example: `drop_foreign_binaries=True`.
        """
    )


class BundleGlobsField(GlobsField):
    from_build_root = True


class BuildSourcesField(BundleGlobsField):
    alias = "build_sources"
    default = BUILD_SOURCES
    help = help_text(
        """
        The files that the build script reads, besides package.json, the installed packages and the
        files of `file:` folders and workspaces. A change in one of these files runs the build
        script again. In npm workspaces, a path with `//` is relative to the build root, for files
        above the application such as `//tsconfig.base.json`.

        Example: `build_sources=["src/**", "build/**", "webpack.config.js"]`.
        """
    )


class RuntimeSourcesField(BundleGlobsField):
    alias = "runtime_sources"
    default = ("service/**",)
    help = help_text(
        """
        The application's own files that go into the release, besides the outputs of the build
        script (`build_outputs`). The files of `file:` folders and workspaces go into the release
        without an entry, unless only dev dependencies link them; `!` excludes files from them too.
        Slipway warns about files that look like secrets, such as `.env` and private keys. A change
        in one of these files runs neither the install nor the build script. A server that its build
        script writes completely needs no such files.

        Example: `runtime_sources=["service/**", "!service/**/*.test.js"]`.
        """
    )


class BuildScriptField(StringField):
    alias = "build_script"
    default = "build"
    help = help_text(
        """
        The script of package.json that builds the client, the server or both. The script gets the
        value of `server_env` in the environment variable SERVER_ENV, and its arguments from
        `build_args`. With an empty string, Slipway runs no build script.

        Example: `build_script="build"`.
        """
    )


class BuildArgsField(StringSequenceField):
    alias = "build_args"
    default = ()
    help = help_text(
        """
        The arguments of the build script; `{server_env}` stands for the value of `server_env`. By
        default the script has no arguments, because commands such as `tsc` or `next build` would
        take an argument for a file. npm appends the arguments to the last command of the script.

        Example: `build_args=["--mode", "{server_env}"]`.
        """
    )


class BuildOutputsField(StringSequenceField):
    alias = "build_outputs"
    default = BUILD_OUTPUTS
    help = help_text(
        """
        The files and folders that the build script writes, relative to the application's folder.
        The build fails if an output is missing. Slipway reports files that the script writes
        elsewhere and leaves them out of the release. In npm workspaces, a path with `//` is
        relative to the build root, such as `//packages/lib/dist` of a member that the script builds.

        Example: `build_outputs=["dist", "service/views"]`.
        """
    )


class ServerEnvField(StringField):
    alias = "server_env"
    default = "prod"
    help = help_text(
        """
        The environment that the bundle is built for: `stable`, `sit`, `pre` or `prod`, or a name
        that `[slipway] server_envs` lists. Use `parametrize` to build for several environments.

        Example: `server_env=parametrize("stable", "sit", "pre", "prod")`.
        """
    )


class BuildEnvField(DictStringToStringField):
    alias = "build_env"
    help = help_text(
        """
        Environment variables of the build script and the smoke script.

        Example: `build_env={"NODE_OPTIONS": "--max-old-space-size=4096"}`.
        """
    )


class LifecycleScriptsField(StringSequenceField):
    alias = "lifecycle_scripts"
    default = ()
    help = help_text(
        """
        The application's own lifecycle scripts that the build needs. Slipway runs them before the
        build script, in this order. By default Slipway runs no lifecycle script of the application.
        The scripts must not change production packages, because a release contains the packages as
        npm installed them.

        Example: `lifecycle_scripts=["postinstall"]`.
        """
    )


class TestScriptField(StringField):
    alias = "test_script"
    default = "test"
    help = help_text(
        """
        The script of package.json that `./pants test` runs: in a build step, with all packages of
        the application and the files of `test_sources`, and with no network but loopback. The
        variable CI is set to `true`. Slipway reports the script as a test, and runs it again only if
        its inputs change. An application without this script has no test; with an empty string,
        `./pants test` skips the application.

        Example: `test_script="test:unit"`.
        """
    )


class TestSourcesField(BundleGlobsField):
    alias = "test_sources"
    default = ("**", "!**/node_modules/**")
    help = help_text(
        """
        The application's own files that the test script reads. Build outputs are not among them.

        Example: `test_sources=["service/**", "test/**"]`.
        """
    )


class StaticDirField(StringField):
    alias = "static_dir"
    default = "dist"
    help = help_text(
        """
        The build output that only browsers load. Its content becomes the static archive. Use an
        empty string if the server needs all build outputs.

        Example: `static_dir="dist"`.
        """
    )


class StaticBaseUrlField(Field):
    alias = "static_base_url"
    default = None
    value: Optional[FrozenDict[str, str]]
    help = help_text(
        """
        The URL under which you publish the static files, or a dictionary of URLs by `server_env`.
        If set, Slipway checks every reference below this URL in the built views, HTML and CSS: the
        static archive must contain the file. The part of the URL after the host is the path in
        `static_dir`.

        Example: `static_base_url="https://static.example.com/dist/"`, or
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
            isinstance(text, str) for pair in by_env.items() for text in pair
        ):
            expected = "a URL, or a dictionary of URLs by server_env"
            raise InvalidFieldTypeException(address, cls.alias, raw_value, expected_type=expected)
        return FrozenDict(by_env)

    def for_env(self, server_env: str) -> str:
        """The URL for one environment; empty if Slipway checks no references."""
        by_env: FrozenDict[str, str] = self.value or FrozenDict()
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
        NodeModulesField,
        DropForeignBinariesField,
        BuildSourcesField,
        RuntimeSourcesField,
        BuildScriptField,
        BuildArgsField,
        BuildOutputsField,
        ServerEnvField,
        BuildEnvField,
        LifecycleScriptsField,
        TestScriptField,
        TestSourcesField,
        StaticDirField,
        StaticBaseUrlField,
    )
    help = help_text(
        """
        A Node.js application, installed from its npm lockfile and built for one environment.

        The bundle has three layers: production dependencies, application, static files. Name the
        bundle in the field `bundle` of a `release_tarball`.
        """
    )
