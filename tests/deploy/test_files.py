"""The files of deploy/ are what the programs that read them take, and say what is true here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from durproxy.config import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLE = DEPLOY / "durproxy.toml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
METRICS = (DEPLOY / "../docs/metrics.md").read_text()
DOCUMENTED = set(re.findall(r"(?m)^\| `(durproxy_\w+)` \|", METRICS))
TABLES = {"http_rules", "http_hosts", "secrets", "quotas"}


def uncommented() -> str:
    """The example with every line in force."""
    return re.sub(r"(?m)^#(?=\w+ = |\[)", "", EXAMPLE.read_text())


def test_the_example_has_every_setting_with_its_default(tmp_path: Path) -> None:
    values = tomllib.loads(uncommented())
    assert values.keys() == Settings.model_fields.keys()
    full = tmp_path / "durproxy.toml"
    full.write_text(uncommented())
    loaded = load_settings({}, full)
    examples = set(re.findall(r"(?m)no default\n#?(\w+) = ", EXAMPLE.read_text())) | TABLES
    for name, field in Settings.model_fields.items():
        if name in examples:
            assert field.is_required() or not field.get_default(call_default_factory=True), name
        elif name != "runtime_dir":  # the system's
            assert getattr(loaded, name) == field.default, name


def test_the_example_is_taken_as_it_is() -> None:
    assert load_settings({}, EXAMPLE).listen == "127.0.0.1:6432"


def test_the_compose_file_is_one() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_what_kubernetes_takes(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(manifest, "1.31", strict=True)


def containers() -> Iterator[Any]:
    for path in MANIFESTS:
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] == "Deployment":
                pod = manifest["spec"]["template"]["spec"]
                for each in pod["containers"] + pod["initContainers"]:
                    if each["image"].startswith("durproxy"):
                        yield pod, each


def test_our_containers_may_do_nothing_that_they_need_not() -> None:
    assert len(list(containers())) == 3
    for pod, each in containers():
        security = pod["securityContext"] | each["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] == 10001
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not pod["automountServiceAccountToken"]


def test_the_policy_is_about_the_pods_of_the_deployment() -> None:
    texts = [path.read_text() for path in MANIFESTS if path.stem in ("deployment", "policy")]
    kinds = {m["kind"]: m for text in texts for m in yaml.safe_load_all(text)}
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
    ):
        assert selector.items() <= labels
    config = tomllib.loads(kinds["ConfigMap"]["data"]["durproxy.toml"])
    assert config.keys() <= Settings.model_fields.keys()


@pytest.mark.parametrize("path", ["grafana/durproxy.json", "prometheus-alerts.yaml"])
def test_every_metric_that_is_asked_for_exists(path: str) -> None:
    text = (DEPLOY / path).read_text()
    asked = set(re.findall(r"\bdurproxy_\w+", text))
    known = {f"{name}{end}" for name in DOCUMENTED for end in ("", "_bucket", "_sum", "_count")}
    assert len(asked) > 5
    assert asked <= known
    if path.endswith("json"):
        expressions = [
            target["expr"]
            for panel in json.loads(text)["panels"]
            for target in panel.get("targets", ())
        ]
        assert all(each.count("(") == each.count(")") for each in expressions)
        shown = {re.sub("_(bucket|sum|count)$", "", name) for name in asked}
        assert shown == DOCUMENTED - {"durproxy_proxy_statements_read_now"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    unit = tmp_path / "durproxy.service"
    text = (DEPLOY / "systemd/durproxy.service").read_text()
    unit.write_text(text.replace("/opt/durproxy/bin/durproxy", "/bin/true"))
    for command in (["verify"], ["security", "--offline=yes", "--threshold=20"]):
        done = subprocess.run(
            ["systemd-analyze", *command, str(unit)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
