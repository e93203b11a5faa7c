"""The people of the demo: an operator and a user of its account, who log in by links."""

from __future__ import annotations

from datetime import timedelta

from config.load import load_file
from mta.admin import users
from mta.admin.context import AdminContext, operator_actor
from mta.admin.permissions import Role
from mta.demo.account import ACCOUNT, BY
from mta.demo.environment import DemoEnvironment
from mta.service.config_validation import validate_profiles
from mta.store.store import Store

OPERATOR, SHOP = "operator", "baker"
LINK_LASTS = timedelta(days=1)


def administrator(store: Store, environment: DemoEnvironment) -> AdminContext:
    """Return what the demo itself changes things with."""
    settings = load_file(environment.config)
    return AdminContext(store, settings, lambda: validate_profiles(settings), operator_actor(BY))


async def log_in_links(context: AdminContext) -> tuple[str, str]:
    """Add an operator and a user of the account; return the links that log them in once."""
    await users.add(context, OPERATOR, Role.OPERATOR)
    await users.add(context, SHOP, Role.ACCOUNT, account=ACCOUNT)
    links = [await users.link(context, name, lifetime=LINK_LASTS) for name in (OPERATOR, SHOP)]
    address = f"{context.settings.web.admin.base_url}/login/link?token="
    return address + links[0], address + links[1]
