"""DKIM keys, from creation to retirement: make one, publish its record, compare it with the DNS, activate, retire."""

from __future__ import annotations

from mta.admin.errors import InvalidValue
from mta.admin.senders import keys
from mta.dkim.keyring import ListedKey
from mta.dkim.keys import Algorithm
from mta.dkim.records import record_name, record_text, zone_line
from mta.mail.address import AddressError, parse_domain
from mta.store.accounts.dkim_keys import KeyState
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import PageTable

routes = PageRoutes()

READ, WRITE = "keys:read", "keys:write"
BOTH = "both"
ALGORITHMS = (
    ("rsa", "RSA, 2048 bits: verified everywhere"),
    ("ed25519", "Ed25519: shorter, and not verified everywhere"),
    (BOTH, "both, as two keys"),
)
TONES = {KeyState.ACTIVE: "ok", KeyState.PENDING: "warn", KeyState.RETIRED: ""}


async def key_table(page: PageRequest, domain: str | None = None) -> PageTable:
    """Return the keys that the user may see, or those of a domain."""
    titles = tables.columns(
        domain="Domain", selector="Selector", kind="Algorithm", state="State", since=("Since", "time")
    )
    rows = [
        [
            tables.text(each.key.domain),
            tables.link(each.key.selector, path_of(each), "in a file" if each.in_file else ""),
            tables.text(each.key.algorithm.value),
            tables.badge(each.state.value, TONES[each.state]),
            tables.at(each.since),
        ]
        for each in await keys.list_all(page.context, domain)
    ]
    return PageTable.sorted(page, "DKIM keys", titles, rows, empty="No key.", name="key")


def path_of(listed: ListedKey) -> str:
    """Return the address of a key's page."""
    return f"/domains/keys/{listed.key.domain}/{listed.key.selector}"


async def _key(page: PageRequest) -> ListedKey:
    return await keys.find(page.context, page.path_text("domain"), page.path_text("selector"))


@routes.get("/domains/keys", READ)
async def list_(page: PageRequest) -> Answer:
    """Show all keys, with the form to make one."""
    table = await key_table(page)
    if tables.wants_csv(page):
        return table.to_csv("keys")
    values = {"table": table, "algorithms": ALGORITHMS}
    return PageView("keys.html", "DKIM keys", values, [("Domains and keys", "/domains")])


@routes.post("/domains/keys", WRITE, again=list_, operator=True)
async def create(page: PageRequest) -> Answer:
    """Make a key, or two; they do not sign yet."""
    try:
        domain = parse_domain(page.required("domain", "the domain"))
    except AddressError as error:
        raise InvalidValue("domain", str(error)) from None
    wanted = page.text("algorithm")
    algorithms = [each for each in Algorithm if wanted in (each.key_type, BOTH)]
    if not algorithms:
        raise InvalidValue("algorithm", "choose one of the values")
    made = await keys.create(page.context, domain, algorithms, page.text("selector") or None)
    if len(made) == 1:
        return Redirect(path_of(made[0]), "Made. It signs nothing yet: publish its record, then activate it.")
    return Redirect("/domains/keys", "Made. They sign nothing yet: publish their records, then activate them.")


@routes.get("/domains/keys/{domain}/{selector}", READ)
async def show(page: PageRequest) -> PageView:
    """Show a key: the record to publish, and with ``look`` what the DNS has of it now."""
    listed = await _key(page)
    checked = await keys.check(page.context, listed.key.domain, listed.key.selector) if page.query("look") else None
    others = await keys.others_that_sign(page.context, listed)
    values = {
        "listed": listed,
        "key": listed.key,
        "tone": TONES[listed.state],
        "checked": checked,
        "record": {"name": record_name(listed.key), "text": record_text(listed.key), "zone": zone_line(listed.key)},
        "others": [each.key.selector for each in others],
        "to": path_of(listed),
        "days": page.context.settings.queue.expire_after / 86400,
    }
    title = f"{listed.key.selector} of {listed.key.domain}"
    return PageView("key.html", title, values, [("Domains and keys", "/domains"), ("DKIM keys", "/domains/keys")])


@routes.post("/domains/keys/{domain}/{selector}/activate", WRITE, again=show, operator=True)
async def activate(page: PageRequest) -> Answer:
    """Let a key sign, if the DNS has its record."""
    listed = await _key(page)
    key = listed.key
    await keys.activate(page.context, key.domain, key.selector, force=page.ticked("force"))
    return Redirect(path_of(listed), f"{key.selector} signs for {key.domain} from now on.")


@routes.post("/domains/keys/{domain}/{selector}/retire", WRITE, again=show, operator=True)
async def retire(page: PageRequest) -> Answer:
    """Stop signing with a key."""
    listed = await _key(page)
    key = listed.key
    await keys.retire(page.context, key.domain, key.selector, force=page.ticked("force"))
    return Redirect(path_of(listed), f"{key.selector} signs no more. Leave its record in the DNS for now.")
