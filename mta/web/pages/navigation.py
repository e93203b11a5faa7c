"""The navigation: which pages there are, by what a user may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mta.admin.permissions import Scope
from mta.web.pages.frame import PageRequest


@dataclass(frozen=True, slots=True)
class Entry:
    """``scope``: what a user needs for it. ``operator``: not for users of an account; ``account``: for them only."""

    title: str
    path: str
    scope: Scope
    operator: bool = False
    account: bool = False


MENU: Sequence[tuple[str, Sequence[Entry]]] = (
    (
        "Service",
        (
            Entry("Overview", "/", "messages:read"),
            Entry("Health", "/health", "service:read", True),
            Entry("Configuration", "/configuration", "service:read", True),
            Entry("Users", "/users", "users:read", True),
            Entry("Audit", "/audit", "audit:read", True),
        ),
    ),
    (
        "Mail",
        (
            Entry("Queue", "/queue", "queue:read"),
            Entry("Held", "/held", "queue:read"),
            Entry("Search", "/search", "messages:read"),
            Entry("Rejections", "/rejections", "messages:read"),
        ),
    ),
    (
        "Permission",
        (
            Entry("Mailings", "/mailings", "mailings:read"),
            Entry("Lists and consents", "/consents", "consents:read"),
            Entry("Sign-up forms", "/forms", "sign-up-forms:read"),
            Entry("Suppressions", "/suppressions", "suppressions:read"),
            Entry("Complaints", "/complaints", "complaints:read"),
        ),
    ),
    (
        "Senders",
        (
            Entry("Accounts", "/accounts", "accounts:read", True),
            Entry("Your account", "/account", "terms:write", account=True),
            Entry("Domains and keys", "/domains", "domains:read"),
            Entry("Credentials", "/credentials", "credentials:read"),
            Entry("Webhooks and events", "/webhooks", "webhooks:read"),
        ),
    ),
    (
        "Delivery",
        (
            Entry("Sources and warm-up", "/sources", "shaping:read", True),
            Entry("Shaping actions", "/shaping", "shaping:read", True),
            Entry("Breakers", "/breakers", "breakers:read", True),
        ),
    ),
    (
        "Tools",
        (
            Entry("Test a bounce", "/test/bounce", "messages:read"),
            Entry("Test a message", "/test/message", "messages:read"),
            Entry("Test a destination", "/test/destination", "shaping:write", True),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class MenuItem:
    title: str
    path: str
    current: bool


def menu_of(page: PageRequest, known: frozenset[str]) -> list[tuple[str, list[MenuItem]]]:
    """Return the menu of a user. ``known``: the paths that have a page."""
    current = max(
        (each.path for _, group in MENU for each in group if _is_below(page.path, each.path)), key=len, default=""
    )
    groups = [
        (
            title,
            [
                MenuItem(each.title, each.path, each.path == current)
                for each in group
                if each.path in known and page.may(each.scope) and _is_for(page, each)
            ],
        )
        for title, group in MENU
    ]
    return [(title, entries) for title, entries in groups if entries]


def _is_for(page: PageRequest, entry: Entry) -> bool:
    return not entry.account if page.is_operator else not entry.operator


def _is_below(path: str, parent: str) -> bool:
    return path == parent or (parent != "/" and path.startswith(parent + "/"))
