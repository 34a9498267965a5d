"""The target type `node_addon`, and the fields that it shares with `node_app_bundle`."""

from __future__ import annotations

import os

from pants.core.goals.package import OutputPathField
from pants.engine.target import (
    COMMON_TARGET_FIELDS,
    DictStringToStringField,
    SingleSourceField,
    SpecialCasedDependencies,
    StringField,
    Target,
)
from pants.source.filespec import Filespec
from pants.util.strutil import help_text

from slipway.core.targets import BelowFolderMixin, FileField, GlobsField, OneAddressField
from slipway.npm.lockfiles.fetch_lock import FILE_NAME


class PackageJsonField(BelowFolderMixin, SingleSourceField):
    alias = "package_json"
    required = False
    default = "package.json"
    help = help_text(
        """
        The package.json of the application. The folder of this file is the application's folder.

        Example: `package_json="package.json"`.
        """
    )


class NpmLockField(FileField):
    alias = "lockfile"
    default = "package-lock.json"
    from_build_root = True
    help = help_text(
        """
        The npm lockfile, version 1, 2 or 3. `./pants generate-lockfiles` writes the fetch lock,
        `npm-fetch.lock`, to the same folder. For an application in npm workspaces, name their
        lockfile, as a path from the build root: `lockfile="//shop/package-lock.json"`. The release
        then contains this application with its own production packages, and the members of the
        workspaces that it uses.

        Example: `lockfile="package-lock.json"`.
        """
    )

    @property
    def filespec(self) -> Filespec:
        """Both lockfiles, so that `--changed-since` also notices a change of the fetch lock."""
        locks = (
            [self.path, os.path.join(os.path.dirname(self.path), FILE_NAME)] if self.path else []
        )
        return {"includes": locks}


class ToolchainField(OneAddressField):
    alias = "toolchain"
    help = help_text(
        """
        The `node_toolchain` that compiles native packages. Its ABI policy defines the oldest hosts
        on which the binaries of the release must load. Usually set once for all applications, with
        `__defaults__` in the top BUILD file. A bundle whose install scripts do not run needs no
        toolchain: the policy of `[slipway] default_policy` judges its release.

        Example: `toolchain="//toolchains/gcc48"`.
        """
    )


class InstallScriptsField(DictStringToStringField):
    alias = "install_scripts"
    help = help_text(
        """
        How to handle each package's install script, keyed by `name` or `name@range`. `source`
        compiles the package in the toolchain. `prebuilt` lets the script take a binary that is
        pinned in the fetch lock. `run` runs the script unchanged. `skip` does not run the script.
        Install scripts have no network access. Every package with an install script needs an entry.
        The scripts of a `file:` folder or workspace can only be skipped.

        Example: `install_scripts={"bcrypt": "source", "sharp@^0.30": "prebuilt"}`.
        """
    )


class AbiWaiversField(DictStringToStringField):
    alias = "abi_waivers"
    help = help_text(
        """
        Binaries that may violate the ABI policy of the toolchain, each with a reason. The key is
        the path in the release, where `*` matches any characters, or the npm package that contains
        the binaries, as `name@version`. The release.json records each reason.

        Example: `abi_waivers={"sharp@0.30.7": "only new hosts make thumbnails"}`.
        """
    )


class AddonSourcesField(GlobsField):
    alias = "addon_sources"
    default = (
        "binding.gyp",
        "*.gypi",
        *(
            f"{folder}*.{kind}"
            for kind in ("c", "cc", "cpp", "h", "hpp")
            for folder in ("", "src/**/")
        ),
        "*.js",
        "*.d.ts",
        "lib/**",
    )
    help = help_text(
        """
        The addon's own files besides package.json: its source files and the files that `require`
        loads.

        Example: `addon_sources=["binding.gyp", "hello_world.cc", "index.js"]`.
        """
    )


class AddonRuntimesField(SpecialCasedDependencies):
    alias = "runtimes"
    help = help_text(
        """
        The `node_runtime` targets for which `package` compiles the addon.

        Example: `runtimes=["//toolchains/node:6.3.0", "//toolchains/node:16.20.2"]`.
        """
    )


class TestScriptField(StringField):
    alias = "test_script"
    help = help_text(
        """
        The script of package.json that tests the compiled addon. Slipway runs it with the Node
        version that the addon is compiled for, and the build fails if the script fails.

        Example: `test_script="test"`.
        """
    )


class NodeAddon(Target):
    alias = "node_addon"
    core_fields = (
        *COMMON_TARGET_FIELDS,
        PackageJsonField,
        NpmLockField,
        AddonSourcesField,
        AddonRuntimesField,
        ToolchainField,
        InstallScriptsField,
        TestScriptField,
        AbiWaiversField,
        OutputPathField,
    )
    help = help_text(
        """
        A native addon in C or C++ whose sources are in the workspace, with its own npm lockfile.

        A `node_app_bundle` lists the addon in `addons` and compiles it for the bundle's Node.
        `package` compiles the addon for each of `runtimes` and checks the binaries against the ABI
        policy. It writes one archive per runtime under the file name that prebuild-install expects:
        `hello-v1.0.0-node-v93-linux-x64.tar.gz`.
        """
    )
