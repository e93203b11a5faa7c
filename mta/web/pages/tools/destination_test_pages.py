"""Test a destination: what do its hosts say to one of our sources, step by step up to RCPT? No message is sent."""

from __future__ import annotations

from mta.admin import destination_probe
from mta.admin.destination_probe import DestinationProbe
from mta.mail.delivery import Stage
from mta.mail.reply import ReplyKind
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView

routes = PageRoutes()

TONES = {ReplyKind.POSITIVE: "ok", ReplyKind.TRANSIENT: "warn", ReplyKind.PERMANENT: "bad"}


@routes.get("/test/destination", "shaping:write", operator=True)
async def form(page: PageRequest) -> PageView:
    """Show the form."""
    return _view(page, None)


def _view(page: PageRequest, found: DestinationProbe | None) -> PageView:
    hosts = []
    for each in found.hosts if found else ():
        words = "takes this recipient" if each.stage is Stage.RECIPIENT else "takes mail from us"
        tone = TONES[each.reply.kind] if each.reply else "ok" if each.went_well else "warn"
        ended = f"ended at {each.stage.value.replace('_', ' ')}"
        hosts.append({"probe": each, "tone": tone, "words": words if each.went_well else ended})
    values = {
        "found": found,
        "hosts": hosts,
        "sources": [(each, each) for each in destination_probe.sources(page.context)],
        "asked": page.text("destination") or page.query("destination"),
    }
    return PageView("test_destination.html", "Test a destination", values)


@routes.post("/test/destination", "shaping:write", again=form, operator=True)
async def ask(page: PageRequest) -> Answer:
    """Ask the hosts of a destination now."""
    destination, source = page.required("destination", "the destination"), page.required("source", "the source")
    return _view(page, await destination_probe.ask(page.context, destination, source, page.text("sender")))
