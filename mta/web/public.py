"""The pages for recipients, all of them: what is asked for, by whom, how often, and what goes with every answer.

Pages to come (preferences, sign-up, an API) add their routes in ``make_public``.

It must never answer with anything but our own pages: no trace, no default text, no cookie, no redirect. It must never
log the address of a page.

*Limits.* A request that is not HTTP is answered by aiohttp with a bare 400.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from config.schema import PublicPagesSettings
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.permission.unsubscribes import Unsubscribes
from mta.store.postgres.errors import StoreUnavailable
from mta.web.clients import Rates, client_of
from mta.web.page import Leaf, Pages
from mta.web.unsubscribe import UNSUBSCRIBING, Unsubscribing
from policy.permission.tokens import Tokens

log = get_logger()

BODY = 4096  # octets of a form
AGAIN = 60.0  # seconds after which to come again when something is out of order

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Visitors:
    """Who may ask, by the settings as they are now."""

    def __init__(self, settings: PublicPagesSettings) -> None:
        self._settings = settings
        self._rates = Rates(settings.rate, settings.burst, time.monotonic)

    def configure(self, settings: PublicPagesSettings) -> None:
        self._settings = settings
        self._rates.configure(settings.rate, settings.burst)

    def wait(self, request: web.Request) -> float:
        """Seconds that this client has to wait; 0 if it may ask."""
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, [])
        return self._rates.take(client_of(request.remote or "", forwarded, self._settings.proxy_from))


PAGES: web.AppKey[Pages] = web.AppKey("pages", Pages)
VISITORS: web.AppKey[Visitors] = web.AppKey("visitors", Visitors)


def make_public(
    unsubscribes: Unsubscribes, tokens: Tokens, settings: PublicPagesSettings, metrics: Metrics
) -> web.Application:
    """The application of the public port; each later page adds its routes here. Raises ConfigError."""
    app = web.Application(client_max_size=BODY, middlewares=[_guard])
    app[PAGES], app[VISITORS] = Pages.load(), Visitors(settings)
    app[UNSUBSCRIBING] = Unsubscribing(unsubscribes, tokens, app[PAGES], metrics)
    app.add_routes(app[UNSUBSCRIBING].routes())
    app.on_response_prepare.append(_add_fields)
    return app


async def _add_fields(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(request.app[PAGES].fields)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Bound each client; turn whatever goes wrong into a page of ours."""
    pages, accepted = request.app[PAGES], request.headers.get(hdrs.ACCEPT_LANGUAGE, "")
    if wait := request.app[VISITORS].wait(request):
        return pages.answer(Leaf.BUSY, accepted, wait=wait)
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, headers={hdrs.ALLOW: error.headers[hdrs.ALLOW]})
    except web.HTTPNotFound:
        return pages.answer(Leaf.MISSING, accepted)
    except web.HTTPException:  # a body that is too large
        return pages.answer(Leaf.ODD, accepted)
    except StoreUnavailable:
        return pages.answer(Leaf.LATER, accepted, wait=AGAIN)
    except Exception as error:
        # Not the text of the exception: it may hold what was asked for.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        log.error("a page could not be made", kind=type(error).__name__, where=where[-6:])
        return pages.answer(Leaf.LATER, accepted, wait=AGAIN)
