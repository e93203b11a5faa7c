"""How an erasure is told: what is gone, what stays, why and until when."""

from __future__ import annotations

from mta.cli.subject_steps import Done


def print_erased(address: str, done: Done) -> None:
    erased, redacted = done.erased, done.erased.redacted
    print(f"{address} is erased; its keyed hash goes on blocking marketing mail.")
    print(f"  queued copies taken out      {erased.pulled}")
    print(f"  entries of ledgers emptied   {erased.emptied}")
    print(
        f"  records without the address  {redacted.messages} messages, {redacted.refusals} refusals, "
        f"{redacted.events} events, {redacted.suppressions} suppressions"
    )
    for kept in erased.kept:
        account = done.accounts.get(kept.account_id, str(kept.account_id))
        entries = ", ".join(str(number) for number in kept.entries)
        print(
            f"Kept until {kept.until:%Y-%m-%d}: evidence of consent to {account} (ledger entries {entries}), as proof "
            "against claims, GDPR 17(3)(e)."
        )
