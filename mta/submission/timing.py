"""When a message is to leave, and when it expires: by its parameters of MAIL, its header, and the configuration."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from mta.mail.message import ByMode, Envelope, Message, Release
from mta.mail.release_time import release_fault
from mta.submission.control_headers import OptionError


def with_release(message: Message, send_at: datetime | None, longest: float) -> Message:
    """Note in the envelope when the first attempt may be made. ``send_at``: X-MTA-Send-At; ``longest``: seconds for
    which a message is held at most. Raises OptionError."""
    if send_at is None:
        return message
    envelope, now = message.envelope, message.origin.received_at
    if envelope.release:
        raise OptionError("X-MTA-Send-At and HOLDFOR or HOLDUNTIL are both given; give one of them")
    if not longest:
        raise OptionError("X-MTA-Send-At: messages are not held here; submit it when it is to be sent")
    if fault := release_fault(send_at, now, longest):
        raise OptionError(f"X-MTA-Send-At: {fault}")
    if envelope.deliver_by and envelope.deliver_by.deadline <= send_at:
        raise OptionError("X-MTA-Send-At is not before the time that BY names; give an earlier one")
    return replace(message, envelope=replace(envelope, release=Release(send_at)))


def expires_at(envelope: Envelope, received_at: datetime, asked: timedelta | None, longest: timedelta) -> datetime:
    """Return when a message expires, counted from its release. ``asked``: X-MTA-Expire; ``longest``: as configured."""
    since = max(received_at, envelope.release.at) if envelope.release else received_at
    until = since + min(asked or longest, longest)
    if envelope.deliver_by and envelope.deliver_by.mode is ByMode.RETURN:
        return min(until, envelope.deliver_by.deadline)
    return until
