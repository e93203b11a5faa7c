"""Decide what follows from mail about a complaint case: whose answer it is, and whether that is proved.

An answer is the account's if it came to the address of the letter (``policy.reputation.case_replies``), or if the
domain of its author has signed it and the author is a contact of the account or at one of its domains. Written in the
account's name without such proof, it is put to the case for people to judge, and stops no clock.

Invariants: mail of anyone else about a case changes nothing; people get it all the same.
"""

from __future__ import annotations

from bounce.abuse_mail import AbuseMail
from mta.reports.attribution import AttributedReport
from mta.store.results.report_actions import AnswerCase, ReportAction
from policy.reputation.complaint_mail import contacts_of


def actions_of_case_reply(report: AttributedReport, mail: AbuseMail) -> list[ReportAction]:
    """Return the actions for a reply to a letter about a case."""
    if mail.case is None or mail.sender is None or report.facts.case_account is None:
        return []
    proven = report.answers_letter or (report.signer is not None and is_of_account(report))
    if not proven and not is_of_account(report):
        return []
    return [AnswerCase(mail.case, mail.summary or mail.subject, mail.sender, report.inbound.content, proven)]


def is_of_account(report: AttributedReport) -> bool:
    """Return whether the author's address belongs to the account of the case."""
    account = None if report.facts.case_account is None else report.accounts.get(report.facts.case_account)
    if account is None or report.writer is None:
        return False
    return report.writer.domain in account.domains or report.writer.key in {each.key for each in contacts_of(account)}
