"""What operators are told agrees with what the service does: metrics, alerts, dashboard, events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.observe import events
from mta.observe.metrics import Metrics
from mta.observe.shared_counters import Family, MetricType
from tests.metric_names import full_name

ROOT = Path(__file__).parents[4]
MANUAL = (ROOT / "docs" / "operations.md").read_text()
ALERTS = (ROOT / "config" / "prometheus" / "alerts.yml").read_text()
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
DASHBOARD = json.loads((ROOT / "config" / "grafana" / "imprimatur.json").read_text())
ADDED = {"instance", "job", "le"}  # labels that are not ours: Prometheus adds them


def families() -> list[Family]:
    return Metrics().counters.families


def series_names() -> dict[str, Family]:
    """Every name that a query may use."""
    names = {}
    for family in families():
        ends = ("_bucket", "_sum", "_count") if family.type is MetricType.HISTOGRAM else ("",)
        names |= {full_name(family) + end: family for end in ends}
    return names


def queries() -> Iterator[str]:
    for line in re.sub(r"#.*", "", ALERTS).splitlines():
        if "imprimatur_" in line:
            yield line
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield json.dumps(variable)
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]


def test_every_metric_in_queries_exists() -> None:
    known = series_names()
    used = {name for query in queries() for name in re.findall(r"imprimatur_\w+", query)}
    assert used - known.keys() == set()
    assert len(used) > 30, "the queries were found"


def test_every_label_in_queries_exists() -> None:
    known = series_names()
    for query in queries():
        for name, matchers in re.findall(r"(imprimatur_\w+)\{([^}]*)\}", query):
            for label, value in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', matchers):
                if label not in ADDED:
                    place = known[name].labels.index(label)
                    assert value in {series[place] for series in known[name].series}, query
        names = re.findall(r"imprimatur_\w+", query)
        labels = {label for name in names for label in known[name].labels} | ADDED
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert set(re.split(r",\s*", group)) <= labels, query


@pytest.mark.parametrize("family", families(), ids=full_name)
def test_every_metric_is_in_the_manual(family: Family) -> None:
    row = next((line for line in MANUAL.splitlines() if line.startswith(f"| `{full_name(family)}` |")), "")
    assert family.help in row
    for place, label in enumerate(family.labels):
        values = ", ".join(dict.fromkeys(series[place] for series in family.series))
        assert f"`{label}`: {values}" in row


def test_the_manual_names_no_metric_that_is_not() -> None:
    known = {full_name(family) for family in families()} | series_names().keys()
    assert set(re.findall(r"imprimatur_\w+", MANUAL)) - known == set()


def test_every_metric_is_on_a_panel() -> None:
    """Those that are not are listed here, each with its reason."""
    elsewhere = {
        "imprimatur_config_loaded_timestamp_seconds": "an annotation marks each reload",
    }
    shown = {name for panel in DASHBOARD["panels"] for target in panel.get("targets", ()) for name in _names(target)}
    missing = {full_name(family) for name, family in series_names().items() if name not in shown}
    known = {full_name(family) for name, family in series_names().items() if name in shown}
    assert missing - known == set(elsewhere)


def _names(target: dict[str, str]) -> list[str]:
    return re.findall(r"imprimatur_\w+", target["expr"])


def test_panels_have_ids_places_and_units_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(taken) == len(set(taken)), "two panels overlap"
    units = {panel["fieldConfig"]["defaults"]["unit"] for panel in panels if panel["type"] != "row"}
    assert "reqps" not in units, "mail is not requests"


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


def test_every_alert_leads_to_its_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE)
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    assert headings == list(dict.fromkeys(headings))
    assert set(headings) == set(alerts)
    urls = re.findall(r'^ +runbook_url: "\{\{ \$externalLabels.runbooks \}\}#(\w+)"$', ALERTS, re.MULTILINE)
    assert urls == [name.lower() for name in alerts]
    severities = dict(zip(alerts, re.findall(r"labels: \{severity: (\w+)\}", ALERTS), strict=True))
    assert dict(re.findall(r"^## (\w+)\n\n\*(\w+)\*", RUNBOOKS, re.MULTILINE)) == severities
    assert "runbooks:" in (ROOT / "config/prometheus/prometheus.yml").read_text()


def test_links_between_sections_lead_somewhere() -> None:
    for name in ("operations.md", "runbooks.md", "shaping.md", "tls.md", "../README.md"):
        text = (ROOT / "docs" / name).read_text()
        for file, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", text):
            place = (ROOT / "docs" / name).parent / file if file else ROOT / "docs" / name
            titles = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{name}: {file}#{anchor}"


def test_alerts_and_manual_agree() -> None:
    defined = re.findall(r"- alert: (\w+)", ALERTS)
    assert len(defined) == len(set(defined)) > 10
    severities = dict(zip(defined, re.findall(r"labels: \{severity: (\w+)\}", ALERTS), strict=True))
    assert dict(re.findall(r"^\| `(Imprimatur\w+)` \| (\w+) \|", MANUAL, re.MULTILINE)) == severities


def test_every_event_is_in_the_manual_with_its_fields() -> None:
    table = MANUAL.partition("## Event log")[2].partition("## Metrics")[0]
    for struct in events.EVENTS:
        tag = struct.__struct_config__.tag
        for name in ("delivered", "deferred", "failed") if tag is None else (tag,):
            assert f"`{name}`" in table
        for field in struct.__struct_fields__:
            assert f"`{field}`" in table, f"{struct.__name__}.{field}"
