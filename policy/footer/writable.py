"""Whether notices can be written into a message; rules ask before they answer with one."""

from __future__ import annotations

from mta.mail.message import Message
from policy.base import Facts
from policy.footer.writer import header_fault


def writing_fault(message: Message, facts: Facts) -> str:
    """Return why no footer can be written into ``message``, and the remedy; or ""."""
    if message.large is not None:
        return "a footer is written into messages of up to 1 MiB; link to large files in place of attaching them"
    fault = header_fault(message.headers) or facts.reading.writer.fault
    return f"no footer can be written: {fault}" if fault else ""
