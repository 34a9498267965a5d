"""The options of Slipway, scope `[slipway]`."""

from __future__ import annotations

import enum
from typing import List, Tuple

from pants.engine.goal import GoalSubsystem, LineOriented
from pants.option.option_types import DictOption, EnumOption, IntOption, StrListOption, StrOption
from pants.option.subsystem import Subsystem
from pants.util.strutil import help_text

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
        """The isolators to try, in their order."""
        if self is not Isolator.AUTO:
            return (self.value,)
        return tuple(one.value for one in Isolator if one is not Isolator.AUTO)


class InstallScripts(LineOriented, GoalSubsystem):
    name = "install-scripts"
    help = "Lists packages with install scripts, and pins the binaries that those take."

    pin = StrOption(
        default=None,
        # Pants reads the rest of a value after "@" as a file's name; here it is a scope of npm.
        fromfile=False,
        help=help_text(
            """
            The package whose binary is to be pinned in the fetch lock: its install script is asked
            for the file that it wants, which is fetched once from the mirror that it would use.

            For example: `./pants install-scripts --pin=sqlite3 //apps/report:bundle`, or
            `--pin=@scope/name`.
            """
        ),
    )
    from_file = StrOption(
        default=None,
        help=help_text(
            """
            A local file to pin instead of one of the mirror.

            For example: `--from-file=downloads/sqlite3-v5.1.7-napi-v6-linux-x64.tar.gz`.
            """
        ),
    )
    mirrors = DictOption[str](
        help=help_text(
            """
            Where the binaries of a package are fetched from, by its name. Without it, the client's
            configuration counts, as it does for the package itself: in `.npmrc`, for example,
            `sqlite3_binary_host=https://mirror.example.com/sqlite3`.

            For example: `--install-scripts-mirrors="{'sqlite3': 'https://mirror.example.com/sqlite3'}"`.
            """
        ),
    )
    variables = DictOption[List[str]](
        help=help_text(
            """
            The variables that tell an install script where to fetch its binary from, by the name of
            the package; for those that are not known.

            For example: `--install-scripts-variables="{'our-addon': ['OUR_ADDON_MIRROR']}"`.
            """
        ),
    )


class Slipway(Subsystem):
    options_scope = "slipway"
    help = "Node.js releases: where build steps take their root, their files and their limits from."

    base_image = StrOption(
        default="//toolchains/base",
        help=help_text(
            """
            The `node_toolchain` target whose image is the root file system of every build step.

            For example: `--slipway-base-image=//toolchains/base`.
            """
        ),
    )
    npm_registry = StrOption(
        default=None,
        help=help_text(
            """
            The npm registry that tarballs are fetched from. Without it, the clients' own
            configuration counts: the environment, the project's `.npmrc`, the user's `.npmrc`,
            and what an `npm` on the PATH says.

            For example: `--slipway-npm-registry=https://npm.example.com/`.
            """
        ),
    )
    npmrc_variables = StrListOption(
        default=list(PROJECT_VARIABLES),
        help=help_text(
            """
            Variables of yours that a project's `.npmrc` may have sent to the registries that it
            names, as `${NAME}`; `*` stands for any characters. Your own `~/.npmrc` may name all.

            For example: `--slipway-npmrc-variables="+['OUR_REGISTRY_TOKEN']"`.
            """
        ),
    )
    debian_mirror = StrOption(
        default=None,
        help=help_text(
            """
            The Debian mirror that packages of toolchain images are fetched from. Without it, the
            mirrors of this machine's apt configuration are tried in order.

            For example: `--slipway-debian-mirror=https://mirror.example.com/debian`.
            """
        ),
    )
    debian_trusted = StrListOption(
        help=help_text(
            """
            Debian suites that a lock is written from even where nobody has signed what the mirror
            gives, or it has expired, or is older than what the lock was made from: for a run in
            which you know why, and trust the mirror. Each doubt is told.

            For example: `--slipway-debian-trusted=bullseye`.
            """
        ),
    )
    mirrors = DictOption[str](
        help=help_text(
            """
            Where addresses in runtime definitions and `archive` fields are fetched from instead, by
            their beginnings; the longest that fits counts. What comes is held against the same
            hashes, and no cache key knows of it.

            For example:
            `--slipway-mirrors="{'https://nodejs.example.org/': 'https://mirror.example.com/node/'}"`.
            """
        ),
    )
    step_time_limit = IntOption(
        default=3600,
        help=help_text(
            """
            Seconds after which a build step that is still running is ended, with all its children.
            The limit is in no cache key.

            For example: `--slipway-step-time-limit=7200`.
            """
        ),
    )
    step_memory_limit = StrOption(
        default="80%",
        help=help_text(
            """
            How much memory one build step may use, all its processes and files in memory together:
            a size, or a share of this machine's memory. A step that uses more fails, with all its
            processes ended. Of a container with a memory limit, the share is of that limit. The
            limit is in no cache key.

            For example: `--slipway-step-memory-limit=12GB`.
            """
        ),
    )
    step_process_limit = IntOption(
        default=4096,
        help=help_text(
            """
            How many processes and threads one build step may have at once. A step that starts more
            fails, with all its processes ended. The limit is in no cache key.

            For example: `--slipway-step-process-limit=10000`.
            """
        ),
    )
    step_space_limit = StrOption(
        default="16GB",
        help=help_text(
            """
            How much one build step may write, its temporary files included. A step that writes more
            fails. Where the step's folders are in memory, `step_memory_limit` holds for them too.
            The limit is in no cache key.

            For example: `--slipway-step-space-limit=40GB`.
            """
        ),
    )
    step_inode_limit = IntOption(
        default=1_000_000,
        help=help_text(
            """
            How many files, folders and links one build step may make. A step that makes more fails.
            The limit is in no cache key.

            For example: `--slipway-step-inode-limit=3000000`.
            """
        ),
    )
    isolator = EnumOption(
        default=Isolator.AUTO,
        help=help_text(
            """
            How Slipway isolates build steps from the rest of this machine: with user namespaces, a
            Docker engine, or a plain chroot, which needs root; `inside` is for a job that already
            runs in a container of the steps' image, and protects from hostile scripts only if that
            job runs as root. `auto` takes the first that this machine offers. It is in no cache
            key: all give the same bytes.

            For example: `--slipway-isolator=docker`.
            """
        ),
    )
    server_envs = StrListOption(
        default=list(SERVER_ENVS),
        help=help_text(
            """
            The names that a `server_env` field may have.

            For example: `--slipway-server-envs="['stable', 'sit', 'pre', 'prod', 'demo']"`.
            """
        ),
    )
