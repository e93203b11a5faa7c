"""Read the parameters of MAIL that say when: HOLDFOR, HOLDUNTIL (RFC 4865), BY (RFC 2852) and MT-PRIORITY (RFC 6710).

Pure: times are given, and errors name the parameter and what to do instead.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from mta.mail.message import ByMode, DeliverBy, Release
from mta.mail.release_time import ReleaseTimeError, parse_release_time, release_fault
from mta.mail.reply import Reply
from mta.mail.values import dataclass
from mta.smtp_server.replies import Rejected, bad_parameter

_INTERVAL = re.compile(r"[1-9][0-9]{0,8}\Z")  # RFC 4865 3
_BY = re.compile(r"([+-]?[0-9]{1,9});([RN])(T?)\Z", re.IGNORECASE)  # RFC 2852 4
_PRIORITY = re.compile(r"(?:0|-?[1-9])\Z")  # RFC 6710 4.1


@dataclass(frozen=True, slots=True)
class TimingOffer:
    """What a session offers, at this moment. ``longest``: seconds for which a message is held at most; 0: not."""

    now: datetime
    longest: float

    @property
    def keywords(self) -> list[str]:
        """Lines of the reply to EHLO."""
        offered = ["DELIVERBY", "MT-PRIORITY"]
        if self.longest:
            until = self.now + timedelta(seconds=self.longest)
            offered.append(f"FUTURERELEASE {int(self.longest)} {until:%Y-%m-%dT%H:%M:%SZ}")
        return offered


def read_hold(keyword: str, value: str | None, offer: TimingOffer) -> Release:
    """Return the release that HOLDFOR or HOLDUNTIL asks for. Raises Rejected, as everything here does."""
    if not offer.longest:
        raise Rejected(Reply(555, "5.5.4", f"Unsupported option: {keyword}: messages are not held here"))
    if keyword == "HOLDFOR":
        if not _INTERVAL.match(value or ""):
            raise bad_parameter(keyword, "must be seconds from 1 to 999999999, such as HOLDFOR=3600")
        at, request = offer.now + timedelta(seconds=int(value or "")), f"for;{value}"
    else:
        try:
            at = parse_release_time(value or "")
        except ReleaseTimeError as error:
            example = f"{offer.now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
            raise bad_parameter(keyword, f"{error}; give it in UTC, such as HOLDUNTIL={example}") from None
        request = f"until;{value}"
    if fault := release_fault(at, offer.now, offer.longest):
        raise bad_parameter(keyword, fault)
    return Release(at, request)


def read_by(value: str | None, offer: TimingOffer) -> DeliverBy:
    """Return until when BY wants the message delivered."""
    match = _BY.match(value or "")
    if not match:
        raise bad_parameter("BY", "must be seconds and a mode, R (return) or N (notify), such as BY=3600;R")
    seconds, mode = int(match[1]), ByMode(match[2].upper())
    if mode is ByMode.RETURN and seconds <= 0:
        raise bad_parameter("BY", "the time is over already: with mode R, give more than 0 seconds")
    return DeliverBy(offer.now + timedelta(seconds=seconds), mode, bool(match[3]))


def read_priority(value: str | None) -> int:
    if not _PRIORITY.match(value or ""):
        raise bad_parameter("MT-PRIORITY", "must be a whole number from -9 to 9")
    return int(value or "")


def check_order(release: Release | None, deliver_by: DeliverBy | None) -> None:
    """Reject a message that is to be delivered before it is released."""
    if release and deliver_by and deliver_by.deadline <= release.at:
        raise bad_parameter("BY", "the message would be held beyond this time; give a later one, or hold it for less")
