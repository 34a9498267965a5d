"""The target type `node_toolchain` and its fields; each help text has an example."""

from __future__ import annotations

from typing import Optional

from pants.core.goals.package import OutputPathField
from pants.engine.target import (
    COMMON_TARGET_FIELDS,
    AsyncFieldMixin,
    SingleSourceField,
    StringField,
    Target,
)
from pants.util.strutil import help_text

from slipway.core.targets import BelowFolderMixin, FileField, GlobsField, OneAddressField
from slipway.oci.lock import is_reference


class ImageField(BelowFolderMixin, SingleSourceField):
    alias = "image"
    required = False
    default = "image.json"
    help = help_text(
        """
        Sets the source of the image. This is the spec file that lists its packages; or a ready
        image, with its digest in a registry or its ID in the local Docker engine. The parts of a
        ready image are locked with `./pants generate-lockfiles --resolve=toolchain:<name>`.

        Example: `image="image.json"`, or `image="registry.example/team/centos7@sha256:9f86d0…"`.
        """
    )

    @property
    def reference(self) -> Optional[str]:
        """The reference of a ready image; None for a spec file."""
        return self.value if self.value and is_reference(self.value) else None


class PackagesLockField(FileField):
    alias = "packages"
    default = "packages.lock"
    help = help_text(
        """
        Sets the lock of the image. It has the names, versions, sizes and hashes of Debian packages,
        or the parts of a ready image in a registry or an engine. Its resolve is named after the
        target: `toolchain:<name>`.

        Example: `packages="packages.lock"`, written by
        `./pants generate-lockfiles --resolve=toolchain:base`.
        """
    )


class ImageBaseField(OneAddressField):
    alias = "base"
    help = help_text(
        """
        Sets the image below: a `node_toolchain` from packages, whose layers this image extends. If
        it is from the same Debian suite, its packages satisfy dependencies and are not in the lock
        of this image. Without it, the image has a single layer.

        Example: `base="//toolchains/base"`.
        """
    )


class AbiPolicyField(FileField):
    alias = "abi_policy"
    help = help_text(
        """
        Sets the ABI policy: the newest symbol versions and the libraries of the oldest host on
        which binaries of this toolchain must load. The link surface of the image has only these
        versions.

        Example: `abi_policy="abi.toml"`.
        """
    )


class ContractTestsField(GlobsField):
    alias = "contract_tests"
    help = help_text(
        """
        Lists the files of the image's contract tests. `./pants test` runs each `*.sh` among them
        inside the image, in a folder with all of these files. The test fails if a script fails,
        or if a script leaves a binary that breaks the ABI policy.

        Example: `contract_tests=["contract/**"]`.
        """
    )


class ImageArchiveField(StringField, AsyncFieldMixin):
    alias = "archive"
    help = help_text(
        """
        Sets a ready image to use instead of packages: an archive from `docker save` or an OCI tool.
        The value is a file below this folder or an address. `archive_sha256` must have its hash.

        Example: `archive="our-image.tar", archive_sha256="9f86d0…", archive_size="73400320"`.
        """
    )


class ImageArchiveSha256Field(StringField):
    alias = "archive_sha256"
    help = help_text(
        """
        Sets the SHA-256 of `archive`, 64 hexadecimal digits.

        Example: `archive_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`.
        """
    )


class ImageArchiveSizeField(StringField):
    alias = "archive_size"
    help = help_text(
        """
        Sets the size of `archive` in bytes, as digits. It is required if `archive` is an address.

        Example: `archive_size="73400320"`.
        """
    )


class NodeToolchain(Target):
    alias = "node_toolchain"
    core_fields = (
        *COMMON_TARGET_FIELDS,
        ImageField,
        PackagesLockField,
        ImageBaseField,
        AbiPolicyField,
        ContractTestsField,
        ImageArchiveField,
        ImageArchiveSha256Field,
        ImageArchiveSizeField,
        OutputPathField,
    )
    help = help_text(
        """
        A pinned root file system, in which build steps run.

        Slipway assembles it from a lock of Debian packages, without root and without Docker, to the
        same bytes on every machine. `package` writes it as an archive for `docker load`, and `test`
        runs its contract tests.
        """
    )
