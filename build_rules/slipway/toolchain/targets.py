"""The target type `node_toolchain` and its fields; each help text carries an example."""

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
        The file that says which packages the image is made of and how; or an image that is there
        already, by its digest in a registry, or by its ID in the local Docker engine.

        Example: `image="image.json"`, or `image="registry.example/team/centos7@sha256:9f86d0…"`,
        whose parts go into the lock by `./pants generate-lockfiles --resolve=toolchain:<name>`.
        """
    )

    @property
    def reference(self) -> Optional[str]:
        """The image that is there already, if the field names one."""
        return self.value if self.value and is_reference(self.value) else None


class PackagesLockField(FileField):
    alias = "packages"
    default = "packages.lock"
    help = help_text(
        """
        The lock of the image's Debian packages: names, versions, sizes and hashes; or of the parts
        of an image that a registry or an engine has. Its resolve is named after the target,
        `toolchain:<name>`.

        Example: `packages="packages.lock"`, written by
        `./pants generate-lockfiles --resolve=toolchain:base`.
        """
    )


class ImageBaseField(OneAddressField):
    alias = "base"
    help = help_text(
        """
        Another `node_toolchain`, made of packages, whose layers this image stands on. Its packages
        are there already and not in the lock.

        Example: `base="//toolchains/base"`.
        """
    )


class AbiPolicyField(FileField):
    alias = "abi_policy"
    help = help_text(
        """
        The file that says on which oldest hosts binaries of this toolchain load: the newest symbol
        versions and the libraries that those have. The link surface of the image offers no more.

        Example: `abi_policy="abi.toml"`.
        """
    )


class ContractTestsField(GlobsField):
    alias = "contract_tests"
    help = help_text(
        """
        What `./pants test` of the image runs: each `*.sh` among these files, inside the image, in
        a folder with all of them. A script that fails fails the test, and so does a binary that it
        leaves and that breaks the ABI policy.

        Example: `contract_tests=["contract/**"]`.
        """
    )


class ImageArchiveField(StringField, AsyncFieldMixin):
    alias = "archive"
    help = help_text(
        """
        A ready image instead of packages: an archive as `docker save` or an OCI tool writes it, by
        a file below this folder or an address, with its hash in `archive_sha256`.

        Example: `archive="our-image.tar", archive_sha256="9f86d0…", archive_size="73400320"`.
        """
    )


class ImageArchiveSha256Field(StringField):
    alias = "archive_sha256"
    help = help_text(
        """
        The SHA-256 of `archive`, 64 hexadecimal digits.

        Example: `archive_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`.
        """
    )


class ImageArchiveSizeField(StringField):
    alias = "archive_size"
    help = help_text(
        """
        The size of `archive` in bytes, as digits; needed when it is an address.

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
        A pinned root file system, the machine in which build steps run.

        It is assembled from a lock of Debian packages, without root and without Docker, to the
        same bytes everywhere. `package` writes it as an archive that `docker load` reads, `test`
        runs its contract tests.
        """
    )
