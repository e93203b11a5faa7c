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
    "rich": "by commands that print tables",
    "scramp": "where a client chooses SCRAM, and for new credentials",
    "starlette": "by the API and the pages",
}
PRELOAD = """
import sys
import mta.service.supervisor
from mta.service.fork_server import MODULES, preload
preload(MODULES)
print(*sys.modules)
"""


def test_what_few_services_need_is_not_imported_for_all() -> None:
    done = subprocess.run([sys.executable, "-c", PRELOAD], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "mta.service.worker" in modules
    assert not {name: why for name, why in NEEDED_BY_FEW.items() if name in modules}
