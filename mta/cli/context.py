"""What commands work with: the settings, the profiles, the store.

Invariants: a command never starts a second service: if the service's own PostgreSQL does not run, it runs for the
length of the command. A question never creates a database, which in the wrong directory would be empty. Settings and
profiles are read without importing the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mta.cli.options import find_config, operator
from mta.cli.output import errors_reported, fail

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.admin.context import AdminContext
    from mta.store.postgres.embedded import EmbeddedPostgres
    from mta.store.store import Store
    from policy.profile import Profiles

T = TypeVar("T")


def load_settings(config: Path | None) -> Settings:
    """Return the settings, or end the command with every mistake and exit status 2."""
    from config.load import load_file

    with errors_reported():
        try:
            return load_file(find_config(config))
        except FileNotFoundError as error:  # a path relative to a directory that was removed
            fail(f"the current directory cannot be read: {error.strerror}", status=2)


def load_profiles(config: Path | None, files: Sequence[Path] = ()) -> Profiles:
    """Return the configured profiles and those of ``files``, which replace configured ones of the same name; or end the
    command with every mistake and exit status 2."""
    from mta.service.composition import rule_context
    from policy import profile
    from policy.permission.tokens import SampleTokens

    settings = load_settings(config)
    given = {path.stem for path in files}
    configured = [path for path in settings.policy.profiles if path.stem not in given]
    with errors_reported():
        return profile.load_profiles([*configured, *files], rule_context(settings, SampleTokens()))


@asynccontextmanager
async def open_store(settings: Settings, *, new: bool = False) -> AsyncIterator[Store]:
    """Open the store, migrated; the embedded database is started if it does not run, created if ``new``."""
    import asyncio

    from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres
    from mta.store.postgres.migrate import migrate
    from mta.store.postgres.secrets import Secrets
    from mta.store.store import Store

    started: EmbeddedPostgres | None = None
    url = settings.database.url
    if url is None:
        embedded = EmbeddedPostgres.of(settings)
        if not (new or embedded.directory.exists()):
            raise EmbeddedError(f"there is no database in {settings.server.data_dir}; is it the right --config?")
        url = embedded.running()
        if url is None:
            url, started = await asyncio.to_thread(embedded.start), embedded
    try:
        await migrate(url)
        secrets = Secrets.load_or_create(settings.server.secret_file or settings.server.data_dir / "secret")
        store = await Store.open(url, settings.database, secrets)
        try:
            yield store
        finally:
            await store.close()
    finally:
        if started:
            await asyncio.to_thread(started.stop)


def with_store(
    settings: Settings, work: Callable[[Store], Awaitable[T]], *, new: bool = False, status: int | None = None
) -> T:
    """Return what ``work(store)`` returns; what the store refuses ends the command (see ``output.errors_reported``).

    ``new``: the work makes sense in a new database, which is created if there is none. ``status``: the exit status of
    every such end.
    """

    import asyncio

    from mta.store.postgres.errors import StoreUnavailable

    async def run() -> T:
        async with open_store(settings, new=new) as store:
            return await work(store)

    with errors_reported(status):
        try:
            return asyncio.run(run())
        except StoreUnavailable as error:
            fail(f"the database cannot be reached: {error}", status=status or 1)


def with_admin(
    settings: Settings,
    work: Callable[[AdminContext], Awaitable[T]],
    *,
    by: str | None = None,
    new: bool = False,
    status: int | None = None,
) -> T:
    """Return what ``work(context)`` returns, done by the user ``by``, by default the one who runs this command.

    Otherwise as ``with_store``.
    """
    from mta.admin.context import AdminContext, operator_actor
    from mta.service.config_validation import validate_profiles

    actor = operator_actor(by or operator())
    return with_store(
        settings,
        lambda store: work(AdminContext(store, settings, lambda: validate_profiles(settings), actor)),
        new=new,
        status=status,
    )


async def account_names(store: Store) -> Mapping[int, str]:
    """Return the names of all accounts by their ids."""
    return await store.accounts.names_by_id()


async def account_id(store: Store, name: str | None) -> int | None:
    """Return the id of an account, None for None; an unknown account is exit status 1."""
    return None if name is None else (await store.accounts.find(name)).account.id
