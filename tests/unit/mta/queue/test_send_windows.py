"""Which send windows hold for which mail, and what follows for what is queued."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from config.delivery import SendWindowSettings
from mta.mail.delivery import DelayReason
from mta.mail.message import Release
from mta.queue.send_windows import SendWindows
from mta.store.queue.enqueue import Delay
from tests.unit.mta.queue.rig import Accounts
from tests.unit.mta.queue.test_ready_queue import job
from tests.unit.mta.store import make

NIGHT = datetime(2026, 3, 2, 22, tzinfo=UTC)  # a Monday
MORNING = datetime(2026, 3, 3, 8, tzinfo=UTC)
DAYTIME = {"times": ["mon-fri 08:00-20:00"], "zone": "UTC"}


def windows(*rules: dict[str, object]) -> SendWindows:
    settings = [SendWindowSettings.model_validate({"name": f"w{n}", **DAYTIME, **rule}) for n, rule in enumerate(rules)]
    return SendWindows(settings, Accounts("dsn"))


def test_conditions_choose_windows_and_all_must_be_open() -> None:
    several = windows(
        {"domains": ["example.net"]}, {"accounts": ["acme"], "times": ["tue 10:00-12:00"]}, {"mailings": ["other*"]}
    )
    delivery = replace(job(mailing="m").delivery, sender=make.message().envelope.sender)
    assert [window.name for window in several.of(delivery)] == ["w0", "w1"]
    assert several.opens_at(delivery, NIGHT) == MORNING + timedelta(hours=2)
    assert several.opens_at(delivery, MORNING + timedelta(hours=3)) is None
    assert [window.name for window in several.of(replace(delivery, mailing="other-1", destination="x.example"))] == [
        "w1",
        "w2",
    ]


def test_mail_from_the_null_sender_does_not_wait() -> None:
    dsn = job().delivery
    assert dsn.sender is None
    assert windows({}).of(dsn) == ()
    assert windows({}).delayed(make.accepted("ann@example.net", sender=None), NIGHT).delays is None


def test_windows_that_are_never_open_together_wait_for_the_end() -> None:
    never = windows({"times": ["mon 08:00-09:00"]}, {"times": ["tue 08:00-09:00"]})
    delivery = replace(job().delivery, sender=make.message().envelope.sender)
    assert never.opens_at(delivery, NIGHT) == delivery.expires_at


def test_a_first_attempt_waits_for_its_release_and_then_for_its_window() -> None:
    new = make.accepted("ann@example.net", "ben@free.example")
    new = replace(new, expires_at=NIGHT + timedelta(days=5))
    some = windows({"domains": ["example.net"]})
    assert some.delayed(new, NIGHT).delays == {"example.net": Delay(MORNING, DelayReason.SEND_WINDOW)}
    assert some.delayed(new, MORNING) == new

    noon = MORNING + timedelta(hours=4)
    envelope = replace(new.message.envelope, release=Release(noon))
    released = replace(new, message=replace(new.message, envelope=envelope))
    waits = Delay(noon, DelayReason.RELEASE)
    assert some.delayed(released, NIGHT).delays == {"example.net": waits, "free.example": waits}
    assert windows().delayed(released, noon).delays is None
