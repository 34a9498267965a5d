"""The target type `node_deployment` and its fields; each help text has an example."""

from __future__ import annotations

from pants.core.goals.package import OutputPathField
from pants.engine.target import (
    COMMON_TARGET_FIELDS,
    DictStringToStringField,
    IntField,
    StringField,
    StringSequenceField,
    Target,
)
from pants.util.strutil import help_text

from slipway.core.targets import FileField, OneAddressField


class ReleaseField(OneAddressField):
    alias = "release"
    help = help_text(
        """
        The `release_tarball` to deploy. The deployment takes the `server_env` of the release.

        Example: `release=":release"`.
        """
    )


class InventoryField(FileField):
    alias = "inventory"
    help = help_text(
        """
        A TOML file with more settings of the deployment, such as the list of hosts or a table
        `groups` of such lists. A field that you set in the target overrides the same key in the
        file.

        Example: `inventory="prod.toml"`.
        """
    )


class HostsField(StringSequenceField):
    alias = "hosts"
    help = help_text(
        """
        The hosts, in the order in which Slipway switches them. Use the names from your own ssh
        configuration; `@web` stands for all hosts of the inventory's group `web`. By default
        Slipway uses `hosts` of the inventory, or all hosts of its groups.

        Example: `hosts=["app1.example.com", "@web"]`.
        """
    )


class DeployPathField(StringField):
    alias = "path"
    help = help_text(
        """
        The folder on each host for the releases and the symlink `current`.

        Example: `path="/home/app/koa-kkl"`.
        """
    )


class DeployUserField(StringField):
    alias = "user"
    help = help_text(
        """
        The user on the hosts. By default your ssh configuration decides.

        Example: `user="app"`.
        """
    )


class DeployPortField(IntField):
    alias = "port"
    help = help_text(
        """
        The port of sshd on the hosts. By default your ssh configuration decides.

        Example: `port=2222`.
        """
    )


class StaticHostsField(StringSequenceField):
    alias = "static_hosts"
    help = help_text(
        """
        The hosts that receive the static files. Slipway copies the files with rsync before it
        switches the first server.

        Example: `static_hosts=["static1.example.com"]`.
        """
    )


class StaticPathField(StringField):
    alias = "static_path"
    help = help_text(
        """
        The folder for the static files on the static hosts.

        Example: `static_path="/srv/static"`.
        """
    )


class StaticPublishField(StringField):
    alias = "static_publish"
    help = help_text(
        """
        A command that publishes the static files, for example to a CDN. Slipway runs the command
        once on your machine, before it switches the first server. The environment variable
        STATIC_FOLDER names the folder with the files.

        Example: `static_publish="cdn-upload $STATIC_FOLDER static"`.
        """
    )


class StaticKeepField(IntField):
    alias = "static_keep"
    default = 30
    help = help_text(
        """
        How many days to keep a release's static files on the static hosts after another release has
        replaced them. Slipway also keeps the static files of all releases that servers keep.

        Example: `static_keep=90`.
        """
    )


class KeepField(IntField):
    alias = "keep"
    default = 5
    help = help_text(
        """
        How many releases to keep on a host for rollbacks, the current release included; at least 2.
        Slipway also keeps the release that the last rollback left.

        Example: `keep=5`.
        """
    )


class BatchField(StringField):
    alias = "batch"
    default = "1"
    help = help_text(
        """
        How many hosts Slipway switches at the same time after the canaries: a number, or a
        percentage of all hosts.

        Example: `batch="25%"`.
        """
    )


class CanaryField(IntField):
    alias = "canary"
    default = 1
    help = help_text(
        """
        How many hosts Slipway switches first, before the batches.

        Example: `canary=2`.
        """
    )


class MaxUnhealthyField(IntField):
    alias = "max_unhealthy"
    default = 0
    help = help_text(
        """
        How many hosts may fail or be unreachable. With more failures, Slipway changes no further
        host.

        Example: `max_unhealthy=1`.
        """
    )


class StartTimeoutField(IntField):
    alias = "start_timeout"
    default = 60
    help = help_text(
        """
        The time limit of the script `start`, in seconds.

        Example: `start_timeout=60`.
        """
    )


class StopTimeoutField(IntField):
    alias = "stop_timeout"
    default = 30
    help = help_text(
        """
        The time limit of the script `stop`, in seconds. After it, Slipway sends signals to the
        release's remaining processes.

        Example: `stop_timeout=30`.
        """
    )


class HealthField(DictStringToStringField):
    alias = "health"
    help = help_text(
        """
        How to check that a release is healthy: request `url` on the host or, without `url`, run the
        release's script `health`. Slipway tries up to `retries` times, `interval` seconds apart,
        with `timeout` seconds per try. `hold` seconds after the first success, a second check must
        also succeed.

        Example: `health={"url": "http://127.0.0.1:3000/health", "retries": "10", "hold": "6"}`.
        """
    )


class SharedField(StringSequenceField):
    alias = "shared"
    help = help_text(
        """
        Paths in a release whose content survives deploys. Slipway makes each path a symlink into the
        folder `shared` on the host.

        Example: `shared=["uploads"]`.
        """
    )


class HooksField(DictStringToStringField):
    alias = "hooks"
    help = help_text(
        """
        Commands to run during a deploy. Slipway runs `before_switch`, `after_switch`, `on_failure` and
        `always` on each host, in the folder of the new release. It runs `before_local` and
        `after_local` once, on your machine. `timeout` is the time limit of each command, in seconds.

        Slipway does not undo `before_local` when a deploy fails: `after_local` runs only after the
        last switch, and only if at most `max_unhealthy` hosts failed. Undo changes on the hosts in
        `on_failure` or `always`.

        Example: `hooks={"before_switch": "bin/app run migrate"}`.
        """
    )


class BootField(StringField):
    alias = "boot"
    default = "auto"
    valid_choices = ("auto", "off")
    help = help_text(
        """
        Whether the current release starts after a reboot of the host. With `auto`, the deploy
        installs a systemd unit if the user is root, otherwise an `@reboot` line in the user's
        crontab. With `off`, you arrange the start yourself.

        Example: `boot="off"`.
        """
    )


class SshOptionsField(StringSequenceField):
    alias = "ssh_options"
    help = help_text(
        """
        Additional arguments for ssh. Your own ssh configuration still applies.

        Example: `ssh_options=["-F", "deploy/ssh_config"]`.
        """
    )


class NodeDeployment(Target):
    alias = "node_deployment"
    core_fields = (
        *COMMON_TARGET_FIELDS,
        ReleaseField,
        InventoryField,
        HostsField,
        DeployPathField,
        DeployUserField,
        DeployPortField,
        StaticHostsField,
        StaticPathField,
        StaticPublishField,
        StaticKeepField,
        KeepField,
        BatchField,
        CanaryField,
        MaxUnhealthyField,
        StartTimeoutField,
        StopTimeoutField,
        HealthField,
        SharedField,
        HooksField,
        BootField,
        SshOptionsField,
        OutputPathField,
    )
    help = help_text(
        """
        Where and how to deploy a release.

        `./pants deploy` ships the release to its hosts, switches to it and checks its health.
        `./pants rollback` switches back to an earlier release. `./pants releases` lists the releases
        on the hosts. `package` writes `deploy.pyz`, which has the same commands for machines without
        Pants.
        """
    )
