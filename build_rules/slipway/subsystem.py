"""The options of Slipway: scope `[slipway]`, and the goal `install-scripts`.

This module declares options only. A rule reads the options and passes values on, so that a room
below `subsystem` never imports it.
"""

from __future__ import annotations

import enum
from typing import List, Tuple

from pants.engine.goal import GoalSubsystem, LineOriented
from pants.option.option_types import DictOption, EnumOption, IntOption, StrListOption, StrOption
from pants.option.subsystem import Subsystem
from pants.util.strutil import softwrap

from slipway.fetch.settings import PROJECT_VARIABLES

SERVER_ENVS = ("stable", "sit", "pre", "prod")


class Isolator(enum.Enum):
    AUTO = "auto"
    NAMESPACES = "namespaces"
    DOCKER = "docker"
    CHROOT = "chroot"
    INSIDE = "inside"

    @property
    def names(self) -> Tuple[str, ...]:
        """The isolators to try, first to last."""
        if self is not Isolator.AUTO:
            return (self.value,)
        return tuple(isolator.value for isolator in Isolator if isolator is not Isolator.AUTO)


class InstallScripts(LineOriented, GoalSubsystem):
    name = "install-scripts"
    help = "Lists packages with install scripts, and pins the binaries that these scripts download."

    pin = StrOption(
        default=None,
        # Pants reads an option value that starts with "@" as the name of a file to load. An npm
        # package with a scope, `@scope/name`, starts with "@" too, so this is off.
        fromfile=False,
        help=softwrap(
            """
            Pins the binary of this package in the fetch lock. Slipway runs the package's install
            script to learn which file it downloads, and fetches that file once from the mirror that
            the script would use.

            Example: `./pants install-scripts --pin=sqlite3 //apps/report:bundle`, or
            `--pin=@scope/name`.
            """
        ),
    )
    from_file = StrOption(
        default=None,
        help=softwrap(
            """
            Pins this local file instead of a download from the mirror.

            Example: `--from-file=downloads/sqlite3-v5.1.7-napi-v6-linux-x64.tar.gz`.
            """
        ),
    )
    mirrors = DictOption[str](
        help=softwrap(
            """
            The mirrors that provide binaries, by package name. Without a mirror here, Slipway reads
            the npm configuration as the package itself does: in `.npmrc`, for example,
            `sqlite3_binary_host=https://mirror.example.com/sqlite3`.

            Example: `--install-scripts-mirrors="{'sqlite3': 'https://mirror.example.com/sqlite3'}"`.
            """
        ),
    )
    variables = DictOption[List[str]](
        help=softwrap(
            """
            The environment variables that set the download address of an install script, by package
            name. Use it for packages that Slipway does not know.

            Example: `--install-scripts-variables="{'our-addon': ['OUR_ADDON_MIRROR']}"`.
            """
        ),
    )


class Slipway(Subsystem):
    options_scope = "slipway"
    help = "Builds Node.js releases. Sets the root file system, mirrors and limits of build steps."

    base_image = StrOption(
        default="//toolchains/base",
        help=softwrap(
            """
            Sets the root file system of every build step: the image of this `node_toolchain` target.

            Example: `--slipway-base-image=//toolchains/base`.
            """
        ),
    )
    default_policy = StrOption(
        default="//toolchains/gcc48",
        help=softwrap(
            """
            Names the `node_toolchain` whose ABI policy judges the releases of bundles without a
            toolchain. A bundle needs its own toolchain only if install scripts compile packages.

            Example: `--slipway-default-policy=//toolchains/gcc48`.
            """
        ),
    )
    npm_registry = StrOption(
        default=None,
        help=softwrap(
            """
            Sets the npm registry that provides tarballs. Without it, Slipway reads the
            configuration of npm: the environment, the project's `.npmrc`, your `~/.npmrc`, and
            the configuration of an `npm` on the PATH.

            Example: `--slipway-npm-registry=https://npm.example.com/`.
            """
        ),
    )
    npmrc_variables = StrListOption(
        default=list(PROJECT_VARIABLES),
        help=softwrap(
            """
            Lists the environment variables that a project's `.npmrc` may use as `${NAME}`. Their
            values can be sent to the registries that this `.npmrc` names. `*` matches any
            characters. Your own `~/.npmrc` may use every variable.

            Example: `--slipway-npmrc-variables="+['OUR_REGISTRY_TOKEN']"`.
            """
        ),
    )
    definition_paths = StrListOption(
        help=softwrap(
            """
            Lists folders with Node definitions: relative to the build root, or absolute. Slipway looks
            for `<version>.toml` first in the folders of the environment variable
            `NODE_BUILD_DEFINITIONS`, then in these, then beside the BUILD file of the
            `node_runtime`, in `toolchains/node`, and among its bundled definitions. The first file
            wins; `./pants node-definitions --explain=22.23.3` names it. Only the content of a
            definition is part of cache keys.

            Example: `--slipway-definition-paths="['vendor/node', '/srv/node-definitions']"`.
            """
        ),
    )
    debian_mirror = StrOption(
        default=None,
        help=softwrap(
            """
            Sets the Debian mirror that provides the packages of toolchain images. Without it,
            Slipway tries the mirrors of this machine's apt configuration in order.

            Example: `--slipway-debian-mirror=https://mirror.example.com/debian`.
            """
        ),
    )
    debian_archives = StrListOption(
        help=softwrap(
            """
            Lists places that have Debian packages which mirrors no longer have: addresses, and folders
            relative to the build root or absolute. Slipway looks there for the packages of a lock
            if the mirrors do not have them. `./pants toolchain-archive` writes such a folder.

            Example: `--slipway-debian-archives="['/srv/toolchain-archive']"`.
            """
        ),
    )
    debian_trusted = StrListOption(
        help=softwrap(
            """
            Lists Debian suites to accept although their index is unsigned, has expired, or is older
            than the index that the lock was made from. Use it for a single run of
            `generate-lockfiles`, when you know the reason and trust the mirror. Slipway prints a
            warning for each problem that it accepts.

            Example: `--slipway-debian-trusted=bullseye`.
            """
        ),
    )
    mirrors = DictOption[str](
        help=softwrap(
            """
            Replaces the beginning of addresses in runtime definitions and `archive` fields. The
            longest prefix that matches wins. Slipway checks the same hashes for files from a
            mirror, and mirrors are not part of any cache key.

            Example:
            `--slipway-mirrors="{'https://nodejs.example.org/': 'https://mirror.example.com/node/'}"`.
            """
        ),
    )
    step_time_limit = IntOption(
        default=3600,
        help=softwrap(
            """
            Limits how long one build step may run, in seconds. Slipway kills a step that runs
            longer, with all its child processes. The limit is not part of any cache key.

            Example: `--slipway-step-time-limit=7200`.
            """
        ),
    )
    step_memory_limit = StrOption(
        default="80%",
        help=softwrap(
            """
            Limits the memory of one build step: all its processes together, and its files in
            memory. The value is a size, or a percentage of this machine's memory. In a container
            with a memory limit, it is a percentage of that limit. A step that uses more fails,
            and Slipway kills all its processes. The limit is not part of any cache key.

            Example: `--slipway-step-memory-limit=12GB`.
            """
        ),
    )
    step_process_limit = IntOption(
        default=4096,
        help=softwrap(
            """
            Limits how many processes and threads one build step may have at the same time. A step
            that starts more fails, and Slipway kills all its processes. The limit is not part of
            any cache key.

            Example: `--slipway-step-process-limit=10000`.
            """
        ),
    )
    step_space_limit = StrOption(
        default="16GB",
        help=softwrap(
            """
            Limits how much one build step may write, including temporary files. A step that writes
            more fails. Where the step's folders are in memory, `step_memory_limit` applies to them
            as well. The limit is not part of any cache key.

            Example: `--slipway-step-space-limit=40GB`.
            """
        ),
    )
    step_inode_limit = IntOption(
        default=1_000_000,
        help=softwrap(
            """
            Limits how many files, folders and links one build step may create. A step that creates
            more fails. The limit is not part of any cache key.

            Example: `--slipway-step-inode-limit=3000000`.
            """
        ),
    )
    isolator = EnumOption(
        default=Isolator.AUTO,
        help=softwrap(
            """
            Sets how Slipway isolates build steps from the rest of this machine. `namespaces` uses
            user namespaces, `docker` uses a Docker engine, and `chroot` uses a plain chroot, which
            needs root. `inside` is for a job that already runs in a container of the steps' image;
            it protects against hostile scripts only if that job runs as root. `auto` uses the first
            that works on this machine. The isolator is not part of any cache key, because all
            isolators produce the same bytes.

            Example: `--slipway-isolator=docker`.
            """
        ),
    )
    server_envs = StrListOption(
        default=list(SERVER_ENVS),
        help=softwrap(
            """
            Lists the values that a `server_env` field may have.

            Example: `--slipway-server-envs="['stable', 'sit', 'pre', 'prod', 'demo']"`.
            """
        ),
    )
