"""The target type `node_addon`, and the fields of packages that applications share with it."""

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
        The application's manifest. Its folder is the application's folder.

        For example: `package_json="package.json"`.
        """
    )


class NpmLockField(FileField):
    alias = "lockfile"
    default = "package-lock.json"
    help = help_text(
        """
        The npm lock, version 1, 2 or 3. Beside it stands the fetch lock, `npm-fetch.lock`, which
        `./pants generate-lockfiles` writes.

        For example: `lockfile="package-lock.json"`.
        """
    )

    @property
    def filespec(self) -> Filespec:
        """The fetch lock goes with its lock, so that `--changed-since` sees it change."""
        locks = (
            [self.path, os.path.join(os.path.dirname(self.path), FILE_NAME)] if self.path else []
        )
        return {"includes": locks}


class ToolchainField(OneAddressField):
    alias = "toolchain"
    help = help_text(
        """
        The `node_toolchain` in which native packages are compiled, and whose ABI policy says on
        which oldest hosts the release must load; usually set once for all applications, by
        `__defaults__` in the top BUILD file.

        For example: `toolchain="//toolchains/gcc48"`.
        """
    )


class InstallScriptsField(DictStringToStringField):
    alias = "install_scripts"
    help = help_text(
        """
        What becomes of the install scripts of packages, by name, or by name and range of versions:
        `source` compiles it in the toolchain, `prebuilt` has the script take a binary that is
        pinned in the fetch lock, `run` runs the script as it is, `skip` does not run it. None has
        a network. Every package with such a script needs a decision.

        For example: `install_scripts={"bcrypt": "source", "sharp@^0.30": "prebuilt"}`.
        """
    )


class AbiWaiversField(DictStringToStringField):
    alias = "abi_waivers"
    help = help_text(
        """
        Binaries that may break the ABI policy of the toolchain, each with the reason, which the
        release.json repeats: by their path in the release, with `*` for any part of it, or by the
        npm package that brings them, as `name@version`.

        For example: `abi_waivers={"sharp@0.30.7": "thumbnails are made on new hosts alone"}`.
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
        The addon's own files, besides package.json: what is compiled, and what `require` loads.

        For example: `addon_sources=["binding.gyp", "hello_world.cc", "index.js"]`.
        """
    )


class AddonRuntimesField(SpecialCasedDependencies):
    alias = "runtimes"
    help = help_text(
        """
        The `node_runtime` targets for which `package` compiles the addon.

        For example: `runtimes=["//toolchains/node:6.3.0", "//toolchains/node:16.20.2"]`.
        """
    )


class TestScriptField(StringField):
    alias = "test_script"
    help = help_text(
        """
        A script of package.json that must succeed once the addon is compiled, under the Node that
        it was compiled for.

        For example: `test_script="test"`.
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
        A native addon in C or C++ that the workspace keeps itself, with its own npm lock.

        A `node_app_bundle` that names it in `addons` has it compiled for its own Node. `package`
        compiles it for each of `runtimes`, holds it against the ABI policy, and writes what was
        compiled as prebuild-install looks for it: `hello-v1.0.0-node-v93-linux-x64.tar.gz`.
        """
    )
