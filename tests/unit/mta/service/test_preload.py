"""What the fork server imports before the first fork is in the memory of every service, whether it is used or not."""

from __future__ import annotations

import subprocess
import sys

NEEDED_BY_FEW = {
    "asn1crypto": "by scramp",
    "dkim": "where a report, or a published key, is verified",
    "fastapi": "by the API",
    "jinja2": "by the pages",
    "mta.service.admin_side": "by the first request to the API or the pages",
    "mta.web.public": "where web.public.port is set",
    "nacl": "by dkim",
    "prometheus_client": "by the process that Prometheus asks",
    "rich": "by commands that print tables",
    "scramp": "where a client chooses SCRAM, and for new credentials",
    "starlette": "by the API and the pages",
}
PRELOAD = """
import sys
import mta.service.supervisor
from mta.service import preload
from mta.service.fork_server import MODULES
preload.preload(MODULES)
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", PRELOAD + code], capture_output=True, text=True, check=True).stdout


def test_what_few_services_need_is_not_imported_for_all() -> None:
    modules = set(run("print(*sys.modules)").split())
    assert "mta.service.worker" in modules
    assert not {name: why for name, why in NEEDED_BY_FEW.items() if name in modules}


def test_gaps_are_filled_once_and_take_little() -> None:
    code = "print(*(sum(map(sys.getsizeof, gaps)) for gaps in (preload._gaps, preload._fill_gaps())))"
    first, later = map(int, run(code).split())
    assert later < first < 2 * 2**20, "of which the most would have been there anyway, as free memory"
