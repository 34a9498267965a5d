"""What `package` says about the support of its Node, and which Node it suggests for old hosts."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest
from pants.engine.fs import FileDigest
from pants.engine.internals.native_engine import EMPTY_DIGEST

from slipway.abi.waivers import Verdict
from slipway.release.rules.contents import ReleaseRequest, ReleaseTarballFieldSet
from slipway.runtime.rules import support
from slipway.runtime.rules.node import Runtime
from slipway.runtime.rules.support import SupportRequest, SupportTold
from slipway.step.rules.build_step import Tree
from tests.rules import workspace as stand_ins
from tests.rules.workspace import POLICY, SHA256, Workspace, make_build, make_definition

NEXT = "\nnext: ./pants node-definitions --filter=supported, "


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """The day for the rule; tests change it."""
    days = ["2023-09-10"]

    clock = SimpleNamespace(today=lambda: datetime.date.fromisoformat(days[0]))
    monkeypatch.setattr(support, "datetime", SimpleNamespace(date=clock))
    return days


RUNTIME = Runtime("16.20.2", "8.19.4", "", Tree("t", EMPTY_DIGEST, FileDigest(SHA256, 1), "/"))


def told(workspace: Workspace, runtime: Runtime) -> str:
    return workspace.request(SupportTold, SupportRequest(runtime, "app:release")).text


def warnings(caplog: pytest.LogCaptureFixture) -> List[str]:
    return [text for text in caplog.messages if "--filter=supported" in text]


def test_a_supported_node_has_no_warning(
    workspace: Workspace, today: List[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert told(workspace, replace(RUNTIME, built_by="the Node.js project")) == ""
    assert not warnings(caplog)


def test_the_warning_comes_on_the_day_of_the_end_of_life(
    workspace: Workspace, today: List[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert told(workspace, RUNTIME) == ""
    today[0] = "2023-09-11"
    workspace.begin_session()  # the same engine, on the next day
    text = "Node.js 16.20.2 reached its end of life on 2023-09-11 and gets no security releases"
    assert told(workspace, RUNTIME) == text
    (warning,) = warnings(caplog)
    assert warning.startswith(f"app:release: {text}{NEXT}")


def test_the_date_of_the_definition_wins(workspace: Workspace, today: List[str]) -> None:
    today[0] = "2023-09-11"
    assert told(workspace, replace(RUNTIME, end_of_life="2030-01-01")) == ""


def test_missing_security_releases_and_another_builder(
    workspace: Workspace, today: List[str], caplog: pytest.LogCaptureFixture
) -> None:
    runtime = replace(RUNTIME, version="16.20.1", built_by="a team")
    text = told(workspace, runtime)
    assert text.startswith(
        "Node.js 16.20.1 is built by a team, "
        "and lacks 1 security release of its line (16.20.2; as of "
    )
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("line", ['end_of_life = "2020-01-01"\n', 'end_of_life = "2999-01-01"\n'])
def test_package_warns_about_the_node_of_its_release(
    line: str, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.write_app("app")
    workspace.write({"toolchains/node/16.20.2.toml": line + make_definition()})
    workspace.package("app:release")
    found = [text for text in warnings(caplog) if text.startswith("app:release: ")]
    assert [("2020-01-01" in text) for text in found] == ([True] if "2020" in line else [])


# --- The advice of the ABI gate.

BREACH = {
    "path": "node_runtime/bin/node",
    "package": "",
    "verdict": "breach",
    "breaches": [
        {"path": "node_runtime/bin/node", "package": "", "reason": "needs GLIBC_2.28"},
    ],
}


def audit(monkeypatch: pytest.MonkeyPatch, *files: Any) -> None:
    report: Dict[str, Any] = {"files": list(files)}
    monkeypatch.setitem(stand_ins._REPORTS, "audit.json", report)


def with_needs(version: str, *needs: str) -> str:
    return make_definition(version).replace("size = 1", f"size = 1\nneeds = {json.dumps(needs)}", 1)


def write(workspace: Workspace) -> None:
    """An application with a Node for newer hosts, and an older Node that fits."""
    workspace.write_image(
        "newer", 'abi_policy="abi.toml"', **{"abi.toml": POLICY.replace("2.17", "2.36")}
    )
    workspace.write(
        {
            "toolchains/node/BUILD": 'node_runtime(name="node", version="99.1.0")\n',
            "toolchains/node/99.1.0.toml": with_needs("99.1.0", "GLIBC_2.28"),
            "toolchains/node/98.1.0.toml": with_needs("98.1.0", "GLIBC_2.17"),
        }
    )
    workspace.write_app("app", BUILD=make_build('runtime="//toolchains/node"'))


def judge(workspace: Workspace) -> Verdict:
    field_set = ReleaseTarballFieldSet.create(workspace.target("app:release"))
    return workspace.request(Verdict, ReleaseRequest(field_set))


def test_a_node_for_newer_hosts_leads_to_its_toolchain_and_to_an_older_node(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    audit(monkeypatch, BREACH)
    with pytest.raises(Exception, match="do not load on the oldest host") as caught:
        judge(workspace)
    error = " ".join(str(caught.value).split())
    assert (
        "next: if all hosts are newer, name a toolchain with their policy in the bundle: "
        'toolchain="//newer:image" '
        'or use the newest Node for these hosts: runtime="//toolchains/node:98.1.0" '
        'with, in a BUILD file: node_runtime(name="98.1.0", version="98.1.0") '
        "or waive it, with a reason: "
    ) in error


def test_a_declared_older_node_is_named_by_its_address(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    workspace.write({"nodes/BUILD": 'node_runtime(name="old", version="98.1.0")\n'})
    audit(monkeypatch, BREACH)
    with pytest.raises(Exception, match="do not load on the oldest host") as caught:
        judge(workspace)
    assert 'or use the newest Node for these hosts: runtime="//nodes:old"\n' in str(caught.value)
    assert "in a BUILD file" not in str(caught.value)


def test_a_breach_of_an_addon_does_not_read_definitions(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    workspace.write({"toolchains/node/97.0.0.toml": "not TOML"})
    path = "node_modules/a/a.node"
    breach = {"path": path, "package": "a@1.0.0", "reason": "needs GLIBC_2.28"}
    audit(monkeypatch, {**BREACH, "path": path, "package": "a@1.0.0", "breaches": [breach]})
    with pytest.raises(Exception, match="do not load on the oldest host") as caught:
        judge(workspace)
    assert "node_modules/a/a.node (a@1.0.0): needs GLIBC_2.28" in str(caught.value)


@pytest.mark.parametrize(
    "broken",
    [
        {"toolchains/node/97.0.0.toml": "not TOML"},
        {
            "other/BUILD": 'node_toolchain(name="other", abi_policy="abi.toml")\n',
            "other/abi.toml": "",
        },
    ],
    ids=["a definition", "a policy"],
)
def test_a_fault_elsewhere_neither_hides_a_breach_nor_fails_a_waived_one(
    broken: Dict[str, str], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    workspace.write(broken)
    audit(monkeypatch, BREACH)
    with pytest.raises(Exception, match="do not load on the oldest host") as caught:
        judge(workspace)
    assert "node_runtime/bin/node: needs GLIBC_2.28" in str(caught.value)
    assert "next:  ./pants node-definitions, which lists the Node versions" in str(caught.value)
    waiver = 'abi_waivers={"node_runtime/bin/node": "all hosts are new"}'
    build = make_build('runtime="//toolchains/node"', waiver)
    workspace.write({"app/BUILD": build})
    (waived,) = judge(workspace).waived
    assert waived.reason == "all hosts are new"


def test_a_release_that_fits_has_a_verdict(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    audit(monkeypatch)
    assert judge(workspace) == Verdict((), ())
