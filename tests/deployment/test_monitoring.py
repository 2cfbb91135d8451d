"""The rules for Prometheus and the dashboard for Grafana, against the metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from smart_support.telemetry import metrics
from smart_support.telemetry.alerts import Limits, rules

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "smart-support.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "smart-support.json"

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

pytestmark = pytest.mark.skipif(not DEPLOY.exists(), reason="the files to deploy are not here")


def checked(*arguments: str) -> None:
    """Have promtool do something, and find nothing wrong."""
    found = subprocess.run(
        [shutil.which("promtool") or "", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stdout + found.stderr


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


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def labels() -> dict[str, set[str]]:
    """The labels of each metric, by every name that a query may use."""
    found: dict[str, set[str]] = {}
    for collector in set(metrics.REGISTRY._collector_to_names):
        for family in collector.collect():
            own = set(getattr(collector, "_labelnames", ()))
            for name in metrics.REGISTRY._collector_to_names[collector]:
                found[name] = own | ({"le"} if family.type == "histogram" else set())
    return found


# What Prometheus adds to whatever it scrapes, and prometheus-client to gauges of several workers.
ADDED = {"instance", "job", "pid"}


def test_every_label_of_a_query_is_one_of_its_metric() -> None:
    known_labels = labels()
    asked = 0
    for query in queries():
        names = re.findall(r"smart_support_\w+", query)
        if not names:
            continue
        own = set.union(*(known_labels[name] for name in names)) | ADDED
        grouped = re.findall(r"by \(([^)]*)\)", query)
        matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", query)
        wanted = {one.strip() for group in grouped for one in group.split(",")} | set(matched)
        assert wanted <= own, query
        asked += len(wanted)
    assert asked > 20


def test_every_panel_is_one_that_grafana_takes() -> None:
    """As its schema (version 39) wants a panel of a time series."""
    dashboard = json.loads(DASHBOARD.read_text())
    (variable,) = dashboard["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}

    assert isinstance(dashboard["schemaVersion"], int)
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        title = panel["title"]
        assert panel["type"] == "timeseries", title
        assert panel["datasource"] == source, title
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
        assert panel["fieldConfig"]["overrides"] == [], title
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs)), title
        for target in panel["targets"]:
            shown = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            kept = {one.strip() for group in grouped for one in group.split(",")}
            # Without a sum each series keeps its labels.
            assert shown <= (kept or ADDED), title


UNITS = {"reqps", "percentunit", "percent", "s", "short"}
"""Of the units that Grafana knows, those that are used here."""


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert columns.stop <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@promtool
def test_promtool_accepts_the_rules() -> None:
    checked("check", "rules", str(RULES))


@promtool
def test_promtool_accepts_the_configuration() -> None:
    # Only its syntax: the file with the token is on the machine that scrapes.
    checked("check", "config", "--syntax-only", str(RULES.with_name("prometheus.yml")))


@promtool
def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queried = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules_of = [{"record": f"panel:{at}", "expr": query} for at, query in enumerate(queried)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules_of}]}))

    checked("check", "rules", str(file))


SERIES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    # Alert -> series with which it fires, and series with which it does not: per minute. A counter
    # with labels is not there (_) until the first of its kind happens, and is 1 then.
    "SmartSupportDown": ({'up{job="smart-support"}': "0x20"}, {'up{job="smart-support"}': "1x20"}),
    "SmartSupportErrorRate": (
        {'turns_total{status="failed"}': "0+2x20", 'turns_total{status="done"}': "0+8x20"},
        # A share of 20 %, of fewer than ten turns in five minutes.
        {'turns_total{status="failed"}': "0+0.2x20", 'turns_total{status="done"}': "0+0.8x20"},
    ),
    "SmartSupportSlowTurns": (
        {"turns_slow_total": "0+2x20", 'turns_total{status="done"}': "0+8x20"},
        {"turns_slow_total": "0x20", 'turns_total{status="done"}': "0+8x20"},
    ),
    "SmartSupportDependencyDown": (
        {'dependency_up{name="model"}': "0x20"},
        {'dependency_up{name="model"}': "1x20"},
    ),
    "SmartSupportBreakerOpened": (
        {'breaker_opened_total{upstream="shop"}': "_x8 1x12"},
        {'breaker_opened_total{upstream="shop"}': "1x20"},
    ),
    "SmartSupportAmbiguousWrites": (
        {'tool_calls_ambiguous_total{operation="refund"}': "_x8 1x12"},
        {'tool_calls_ambiguous_total{operation="refund"}': "1x20"},
    ),
    "SmartSupportCriticalErrors": (
        {'errors_total{code="MODEL_AUTH",severity="critical"}': "_x8 1x12"},
        {'errors_total{code="MODEL_AUTH",severity="low"}': "_x8 1x12"},
    ),
    "SmartSupportMemory": ({"memory_percent": "95x20"}, {"memory_percent": "50x8 95x1 50x11"}),
    "SmartSupportCpu": (
        {"process_cpu_percent": "95x20"},
        {"process_cpu_percent": "50x8 95x1 50x11"},
    ),
    "SmartSupportDisk": ({"disk_percent": "91x20"}, {"disk_percent": "90x20"}),
    "SmartSupportTelemetryLosses": (
        {"log_lines_dropped_total": "0x8 1x12"},
        {"log_lines_dropped_total": "1x20", 'handler_failures_total{step="log"}': "1x20"},
    ),
}


@promtool
def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert SERIES.keys() == {rule["alert"] for rule in group["rules"]}
    rules_of = {rule["alert"]: rule for rule in group["rules"]}
    shutil.copy(RULES, tmp_path)  # what is named beside the tests is found beside them

    def case(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
        given = [
            {"series": name if name.startswith("up") else f"smart_support_{name}", "values": values}
            for name, values in series.items()
        ]
        return {
            "interval": "1m",
            "input_series": given,
            # Its labels and words are known only from how it fires; that it does is counted.
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                    "eval_time": "10m",
                    "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                }
            ],
        }

    cases = [
        case(alert, series, fires=fires)
        for alert in rules_of
        for series, fires in zip(SERIES[alert], (True, False), strict=True)
    ]
    file = tmp_path / "tests.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": cases})
    )

    checked("test", "rules", str(file))
