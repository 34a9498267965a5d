"""The target type `node_runtime` and its fields; each help text carries an example."""

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
        The version of Node.js; `node -v` must answer with it.

        Example: `version="16.20.2"`.
        """
    )


class NodeDefinitionField(BelowFolderMixin, OptionalSingleSourceField):
    alias = "definition"
    expected_file_extensions = (".toml",)
    help = help_text(
        """
        The file that says where this Node comes from, with hashes. Without it, the file named after
        the version is taken, beside the BUILD file or from those that Slipway brings.

        Example: `definition="16.20.2.toml"`.
        """
    )


class NpmVersionField(StringField):
    alias = "npm_version"
    help = help_text(
        """
        The version of npm that goes with this Node, one that its definition pins. Without it, the
        definition's own choice.

        Example: `npm_version="8.19.4"`.
        """
    )


class RuntimeToolchainField(OneAddressField):
    alias = "toolchain"
    help = help_text(
        """
        The `node_toolchain` in which a runtime is built whose definition has a `[source]`; binaries
        need none.

        Example: `toolchain="//toolchains/gcc48"`.
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
        OutputPathField,
    )
    help = help_text(
        """
        A Node.js with its npm, pinned by hash, that releases carry with them.

        `package` writes it alone as `nodejs.tar.gz`, with `bin include lib share` at its top; `run`
        starts it: `./pants run //toolchains/node:16.20.2 -- -v`.
        """
    )
