"""The rules for Prometheus and the dashboard for Grafana, against the metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from smart_support.telemetry import metrics
from smart_support.telemetry.alerts import Limits, rules

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "smart-support.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "smart-support.json"

pytestmark = pytest.mark.skipif(not DEPLOY.exists(), reason="the files to deploy are not here")


def known() -> set[str]:
    """Every name that a query may use."""
    names = set()
    for family in metrics.REGISTRY.collect():
        endings = {
            "counter": ["_total"],
            "histogram": ["_bucket", "_sum", "_count"],
        }.get(family.type, [""])
        names |= {family.name + ending for ending in endings}
    return names


def queries() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_every_query_asks_for_metrics_that_there_are() -> None:
    asked = {name for query in queries() for name in re.findall(r"smart_support_\w+", query)}

    assert asked - known() == set()
    assert len(asked) > 20


def test_every_rule_of_ours_has_one_for_prometheus() -> None:
    watched = {name for query in queries() for name in re.findall(r"smart_support_\w+", query)}
    needed = {
        "error_rate": "smart_support_turns_total",
        "slow_turns": "smart_support_turns_slow_total",
        "cpu_use": "smart_support_process_cpu_percent",
        "memory_use": "smart_support_memory_percent",
        "disk_use": "smart_support_disk_percent",
        "service_unavailable": "smart_support_dependency_up",
        "breaker_opened": "smart_support_breaker_opened_total",
        "ambiguous_writes": "smart_support_tool_calls_ambiguous_total",
        "critical_errors": "smart_support_errors_total",
        "telemetry_losses": "smart_support_log_lines_dropped_total",
    }

    assert {rule.name for rule in rules(Limits())} == needed.keys()
    assert set(needed.values()) <= watched


def test_no_panel_lies_on_another() -> None:
    places = [
        (panel["gridPos"]["x"], panel["gridPos"]["y"])
        for panel in json.loads(DASHBOARD.read_text())["panels"]
    ]

    assert len(places) == len(set(places))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules() -> None:
    found = subprocess.run(
        [shutil.which("promtool") or "", "check", "rules", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert found.returncode == 0, found.stdout + found.stderr
