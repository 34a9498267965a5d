"""The target type `node_deployment` and its fields; each help text carries an example."""

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
        The `release_tarball` that is deployed; its `server_env` is that of the deployment.

        For example: `release=":release"`.
        """
    )


class InventoryField(FileField):
    alias = "inventory"
    help = help_text(
        """
        A TOML file with further settings of the deployment, such as the list of hosts or a table
        `groups` of such lists; what stands in the target counts more.

        For example: `inventory="prod.toml"`.
        """
    )


class HostsField(StringSequenceField):
    alias = "hosts"
    help = help_text(
        """
        The hosts, by names that the user's own ssh configuration knows, in the order in which they
        are switched; `@web` stands for those of that group of the inventory. Without this field
        they are those of the inventory, of all of its groups where it has groups.

        For example: `hosts=["app1.example.com", "@web"]`.
        """
    )


class DeployPathField(StringField):
    alias = "path"
    help = help_text(
        """
        The folder on each host that holds the releases and the link `current`.

        For example: `path="/home/app/koa-kkl"`.
        """
    )


class DeployUserField(StringField):
    alias = "user"
    help = help_text(
        """
        The user on the hosts, where the ssh configuration does not say it.

        For example: `user="app"`.
        """
    )


class DeployPortField(IntField):
    alias = "port"
    help = help_text(
        """
        The port of sshd, where the ssh configuration does not say it.

        For example: `port=2222`.
        """
    )


class StaticHostsField(StringSequenceField):
    alias = "static_hosts"
    help = help_text(
        """
        Hosts that get the static files, by rsync, before any server is switched.

        For example: `static_hosts=["static1.example.com"]`.
        """
    )


class StaticPathField(StringField):
    alias = "static_path"
    help = help_text(
        """
        The folder on the static hosts.

        For example: `static_path="/ikuko/static"`.
        """
    )


class StaticPublishField(StringField):
    alias = "static_publish"
    help = help_text(
        """
        A command on this machine that publishes the static files, for a CDN: it runs once, before
        any server is switched, and STATIC_FOLDER names their folder.

        For example: `static_publish="cdn-upload $STATIC_FOLDER static"`.
        """
    )


class StaticKeepField(IntField):
    alias = "static_keep"
    default = 30
    help = help_text(
        """
        For how many days static files of a release stay on the static hosts after another one has
        replaced it. Those of releases that servers keep stay in any case.

        For example: `static_keep=90`.
        """
    )


class KeepField(IntField):
    alias = "keep"
    default = 5
    help = help_text(
        """
        How many releases stay on a host for rollbacks, the current one included; two at least.
        The release that the last rollback left stays too.

        For example: `keep=5`.
        """
    )


class BatchField(StringField):
    alias = "batch"
    default = "1"
    help = help_text(
        """
        How many hosts are switched at once after the canaries: a number, or a share of all.

        For example: `batch="25%"`.
        """
    )


class CanaryField(IntField):
    alias = "canary"
    default = 1
    help = help_text(
        """
        How many hosts are switched first, by themselves.

        For example: `canary=2`.
        """
    )


class MaxUnhealthyField(IntField):
    alias = "max_unhealthy"
    default = 0
    help = help_text(
        """
        How many hosts may fail, or be out of reach, before no further host is touched.

        For example: `max_unhealthy=1`.
        """
    )


class StartTimeoutField(IntField):
    alias = "start_timeout"
    default = 60
    help = help_text(
        """
        Seconds that the script `start` may take.

        For example: `start_timeout=60`.
        """
    )


class StopTimeoutField(IntField):
    alias = "stop_timeout"
    default = 30
    help = help_text(
        """
        Seconds that the script `stop` may take, before what is left of the release gets signals.

        For example: `stop_timeout=30`.
        """
    )


class HealthField(DictStringToStringField):
    alias = "health"
    help = help_text(
        """
        How a release shows that it is well: `url` on the host, or else its script `health`; it has
        `retries` tries, `interval` seconds apart, of `timeout` seconds each, and must still be well
        `hold` seconds after the first success.

        For example: `health={"url": "http://127.0.0.1:3000/health", "retries": "10", "hold": "6"}`.
        """
    )


class SharedField(StringSequenceField):
    alias = "shared"
    help = help_text(
        """
        Paths below a release that outlive it: each is a link into the folder `shared` of the host.

        For example: `shared=["uploads"]`.
        """
    )


class HooksField(DictStringToStringField):
    alias = "hooks"
    help = help_text(
        """
        Commands: `before_switch`, `after_switch`, `on_failure` and `always` on each host, in the folder of the new release;
        `before_local` and `after_local` on this machine, once; `timeout` in seconds.

        Slipway does not undo `before_local` when a deploy fails: `after_local` runs only after the last switch, if at most `max_unhealthy` hosts failed.
        Put what must be undone on the hosts into `on_failure` or `always`.

        For example: `hooks={"before_switch": "bin/app run migrate"}`.
        """
    )


class BootField(StringField):
    alias = "boot"
    default = "auto"
    valid_choices = ("auto", "off")
    help = help_text(
        """
        Whether the deploy sees to it that the current release comes up after a reboot of a host: by a
        unit of systemd where the user is root, else by an @reboot line of the user's crontab.

        For example: `boot="off"`, where something else does it.
        """
    )


class SshOptionsField(StringSequenceField):
    alias = "ssh_options"
    help = help_text(
        """
        Further arguments for ssh, besides the user's own configuration.

        For example: `ssh_options=["-F", "deploy/ssh_config"]`.
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
        A release on its hosts.

        `./pants deploy` ships it, switches to it and checks its health, `./pants rollback` goes back,
        `./pants releases` lists what the hosts have. `package` writes `deploy.pyz`, the same commands
        for machines without Pants.
        """
    )
