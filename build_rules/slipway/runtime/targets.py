"""The target type `node_runtime` and its fields; each help text has an example."""

from __future__ import annotations

from pants.core.goals.package import OutputPathField
from pants.engine.target import (
    COMMON_TARGET_FIELDS,
    OptionalSingleSourceField,
    StringField,
    Target,
)
from pants.util.strutil import help_text

from slipway.core.targets import BelowFolderMixin, OneAddressField


class NodeVersionField(StringField):
    alias = "version"
    required = True
    help = help_text(
        """
        Sets the version of Node.js. `node -v` must print this version.

        Example: `version="16.20.2"`.
        """
    )


class NodeDefinitionField(BelowFolderMixin, OptionalSingleSourceField):
    alias = "definition"
    expected_file_extensions = (".toml",)
    help = help_text(
        """
        Sets the definition: the file with the locations and hashes of this Node.js. Without it,
        Slipway uses the file named after the version: beside the BUILD file, in
        `toolchains/node`, in a folder `node` of a toolchain, or among the bundled definitions.

        Example: `definition="16.20.2.toml"`.
        """
    )


class NpmVersionField(StringField):
    alias = "npm_version"
    help = help_text(
        """
        Sets the version of npm for this Node.js. The definition must pin this version. Without it,
        Slipway uses the default version of the definition.

        Example: `npm_version="8.19.4"`.
        """
    )


class RuntimeToolchainField(OneAddressField):
    alias = "toolchain"
    help = help_text(
        """
        Sets the `node_toolchain` for a build from source. It is required if the definition has a
        `[source]`. Without a `[source]`, Slipway uses binaries and ignores this field.

        Example: `toolchain="//toolchains/gcc48"`.
        """
    )


class BuildRuntimeField(OneAddressField):
    alias = "build_runtime"
    help = help_text(
        """
        Sets the `node_runtime` that installs packages, and runs build and test scripts, for
        applications on this runtime. Only a runtime without npm needs it: its definition has
        `npm = false`.

        Example: `build_runtime="//toolchains/node:16.20.2"`.
        """
    )


class NodeRuntime(Target):
    alias = "node_runtime"
    core_fields = (
        *COMMON_TARGET_FIELDS,
        NodeVersionField,
        NodeDefinitionField,
        NpmVersionField,
        RuntimeToolchainField,
        BuildRuntimeField,
        OutputPathField,
    )
    help = help_text(
        """
        A Node.js with its npm, pinned by hash, which is part of a release.

        `package` writes it as `nodejs.tar.gz`, with `bin include lib share` at its top. `run` starts
        it: `./pants run //toolchains/node:16.20.2 -- -v`.
        """
    )
