"""What the import contracts cannot say: decisions read no clock, folders stay small, class names are unique."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from mta.observe.labels import BackgroundTask

ROOT = Path(__file__).parents[2]
PRODUCT = ("config", "policy", "bounce", "mta")
PURE = (
    "mta/mail",
    "policy",
    "bounce",
    "mta/queue/active_queue.py",
    "mta/queue/ready_queue.py",
    "mta/queue/fair_queue.py",
    "mta/queue/throttle.py",
    "mta/queue/schedule.py",
    "mta/queue/outcome.py",
    "mta/reports/process.py",
    "mta/reports/attribution.py",
    "mta/reports/bounces.py",
    "mta/reports/complaints.py",
    "mta/store/results/report_actions.py",
)
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "sleep"}
CLOCK_OWNERS = {"datetime", "date", "time"}
MAX_FILES_IN_FOLDER = 25
SHARED_CLASS_NAMES: set[str] = set()
SHARED_MODULE_NAMES = {("policy", "hidden_text")}
EXCEPTIONS = {("mta/mail/identity.py", "time_ns")}  # message ids are UUIDs of version 7


def _files(place: str) -> Iterator[Path]:
    path = ROOT / place
    return iter([path]) if path.is_file() else path.rglob("*.py")


def _clock_calls(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in CLOCKS
            and isinstance(node.value, ast.Name)
            and node.value.id in CLOCK_OWNERS
        ):
            yield str(path.relative_to(ROOT)), node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((str(path.relative_to(ROOT)), alias.name) for alias in node.names if alias.name in CLOCKS)


@pytest.mark.parametrize("place", PURE)
def test_decisions_read_no_clock(place: str) -> None:
    found = {call for path in _files(place) for call in _clock_calls(path)}
    assert found - EXCEPTIONS == set()


def test_the_clock_is_seen_where_it_is_read() -> None:
    """The check above is not blind."""
    assert any(_clock_calls(ROOT / "mta/queue/dispatcher.py"))


def _modules() -> dict[str, list[Path]]:
    """Return the product's modules by room: a package of ``mta``, or another top-level package."""
    rooms: dict[str, list[Path]] = defaultdict(list)
    for package in PRODUCT:
        for path in _files(package):
            parts = path.relative_to(ROOT).parts
            rooms["/".join(parts[:2]) if package == "mta" and len(parts) > 2 else package].append(path)
    return rooms


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def test_a_class_name_stands_for_one_thing() -> None:
    names = (
        node.name
        for paths in _modules().values()
        for path in paths
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert _repeated(names) - SHARED_CLASS_NAMES == set()


def test_a_module_name_stands_once_in_a_room() -> None:
    repeated = {
        (room, name)
        for room, paths in _modules().items()
        for name in _repeated(path.stem for path in paths if path.stem != "__init__")
    }
    assert repeated - SHARED_MODULE_NAMES == set()


def test_a_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")]
    assert len(numbers) > 20
    assert _repeated(numbers) == set()


def test_folders_stay_small() -> None:
    sizes = Counter(path.parent.relative_to(ROOT) for paths in _modules().values() for path in paths)
    large = {str(folder) for folder, size in sizes.items() if size > MAX_FILES_IN_FOLDER}
    assert large == set()


# Tasks that end by themselves, soon; what runs for as long as its process is started by BackgroundTasks.
SHORT_TASKS = {
    "mta/observe/background.py": "starts the long-lived tasks",
    "mta/delivery/lookup_cache.py": "one look-up",
    "mta/delivery/mx.py": "the addresses of one host",
    "mta/queue/short_tasks.py": "one look-up of a route, one outcome; a runner, which ends with its ready queue",
    "mta/service/supervisor.py": "the start of the service",
    "mta/smtp_server/listener.py": "the introduction of one connection",
    "mta/store/accounts/quotas.py": "one loan",
    "mta/store/queue/messages.py": "one notification",
    "mta/store/postgres/batch.py": "one row of flushes; tells every waiter",
    "mta/submission/content_scan.py": "one answer of a scanner",
    "mta/submission/link_check.py": "one look-up of a link",
    "mta/admin/files/consent_import.py": "the next records of a file",
    "mta/admin/files/import_jobs.py": "one import",
    "mta/web/webhook_sender.py": "one turn of a webhook",
}
STARTERS = {"create_task", "ensure_future", "TaskGroup"}
IN_THE_FOREGROUND = ("mta/cli/", "mta/demo/", "mta/testing/", "mta/observe/trace.py")  # somebody waits and sees the end


def test_long_lived_tasks_are_started_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in _files("mta")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in STARTERS
    }
    assert {place for place in found if not place.startswith(IN_THE_FOREGROUND)} == set(SHORT_TASKS)


def test_every_long_lived_task_is_started() -> None:
    """The metric's labels are the tasks that there are."""
    named = {
        node.attr
        for path in _files("mta")
        if path.name != "labels.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "BackgroundTask"
    }
    assert named == set(BackgroundTask.__members__)
