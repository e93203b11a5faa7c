"""What callers can expect: the command line and the API take the same errors for refusals."""

from __future__ import annotations

import pytest
import typer

from mta.admin.errors import REFUSALS
from mta.cli.output import errors_reported
from mta.store.postgres.errors import ChangeRefused
from mta.store.store import Store

assert Store  # imports all of the store


@pytest.mark.parametrize("kind", ChangeRefused.__subclasses__(), ids=lambda kind: kind.__name__)
def test_what_the_store_refuses_is_told_as_it_is(kind: type[ChangeRefused], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, errors_reported():
        raise kind("it is not so")
    assert (ended.value.exit_code, capsys.readouterr().err) == (1, "it is not so\n")
    assert issubclass(kind, REFUSALS)


def test_all_of_them_are_known() -> None:
    assert {kind.__name__ for kind in ChangeRefused.__subclasses__()} == {
        "AccountError", "ActionError", "BreakerError", "CaseError", "KeyExists", "MailingError", "WebhookError",
    }  # fmt: skip
