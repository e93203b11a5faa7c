"""Find the MTA-STS policy of a recipient domain: in its TXT record, over HTTPS, in the store (RFC 8461 3 and 5.1).

A policy that is valid counts until it expires, whatever an attacker does to DNS or to HTTPS meanwhile. It is fetched
again when the id in the TXT record changes, and every day while it is in use.

Invariants: redirects are not followed, the certificate must be valid for the policy host, the media type text/plain;
a policy has at most MAX_POLICY octets and FETCH_TIMEOUT seconds. A fetch that failed is not tried again for RETRY
seconds, by any worker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mta.delivery.name_servers import DnsError, NotAsked
from mta.delivery.tls import mta_sts
from mta.delivery.tls.mta_sts import StsError, StsPolicy
from mta.delivery.tls.session_counts import SessionCounts
from mta.delivery.tls.tag_record import RecordError
from mta.http_client import CertificateNotValid, HttpClient, HttpError
from mta.mail.tls_session import AppliedPolicy, PolicyKind, SessionFailure, TlsFault, TlsResult
from mta.observe.labels import Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.queue.sts_policies import StoredPolicy, StsPolicyStore

log = get_logger()

FETCH_TIMEOUT = 30.0  # seconds; mail for the domain waits for it
RETRY = 300.0  # seconds, RFC 8461 3.3

Texts = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class StsFinding:
    """What holds for a domain. ``record_id``: in the TXT record, None if there is none. ``fault``: what is wrong with
    the record, or with the last fetch."""

    policy: StsPolicy | None
    record_id: str | None = None
    fault: TlsFault | None = None


class StsPolicies:
    """``http``: gives the client, which is not needed for most domains. ``texts``: looks up TXT records, or raises
    DnsError. ``port``: of policy hosts."""

    def __init__(
        self,
        store: StsPolicyStore,
        http: Callable[[], HttpClient],
        texts: Texts,
        metrics: Metrics,
        counts: SessionCounts | None = None,
        port: int = 443,
    ) -> None:
        self._store = store
        self._http = http
        self._texts = texts
        self._metrics = metrics
        self._counts = counts
        self._port = port

    async def find(self, domain: str) -> StsFinding:
        """Return the policy that applies to mail for ``domain`` now. Raises StoreUnavailable, NotAsked."""
        record_id, fault = await self._record_id(domain)
        known = await self._store.find(domain, pause=RETRY)
        valid = _valid(known)
        if record_id is None:
            return StsFinding(valid, None, fault)
        if known and ((known.tried and known.fault) or (valid and known.record_id == record_id)):
            return StsFinding(valid, record_id, known.fault)
        fetched = await self.fetch(domain, record_id)
        if isinstance(fetched, StsPolicy):
            return StsFinding(fetched, record_id)
        return StsFinding(valid, record_id, fetched)

    async def refresh(self, limit: int) -> None:
        """Fetch anew policies that are in use and a day old. Raises StoreUnavailable."""
        for domain in await self._store.claim_refresh(limit):
            record_id, _ = await self._record_id(domain)
            if record_id is not None:
                await self.fetch(domain, record_id)

    async def fetch(self, domain: str, record_id: str) -> StsPolicy | TlsFault:
        """Fetch the policy and keep it. Raises StoreUnavailable."""
        fetched = await self._fetch(domain)
        if isinstance(fetched, TlsFault):
            self._metrics.sts_fetches[Success.NO].inc()
            log.warning("MTA-STS policy not fetched", domain=domain, reason=fetched.text)
            if self._counts:
                self._counts.failed(
                    domain, AppliedPolicy(PolicyKind.STS, domain), SessionFailure(fetched.result, reason=fetched.text)
                )
            await self._store.failed(domain, record_id, fetched)
            return fetched
        self._metrics.sts_fetches[Success.YES].inc()
        policy, content = fetched
        await self._store.keep(domain, record_id, content, policy.max_age)
        return policy

    async def _record_id(self, domain: str) -> tuple[str | None, TlsFault | None]:
        try:
            return mta_sts.record_id(await self._texts(mta_sts.record_name(domain))), None
        except RecordError as error:
            return None, TlsFault(TlsResult.STS_POLICY_INVALID, f"{mta_sts.record_name(domain)}: {error}")
        except DnsError as error:
            if isinstance(error, NotAsked):
                raise
            return None, None  # what is known applies

    async def _fetch(self, domain: str) -> tuple[StsPolicy, bytes] | TlsFault:
        port = "" if self._port == 443 else f":{self._port}"
        url = f"https://{mta_sts.policy_host(domain)}{port}/.well-known/mta-sts.txt"
        try:
            answer = await self._http().get(url, answer_limit=mta_sts.MAX_POLICY, follow=False)
        except CertificateNotValid as error:
            return TlsFault(TlsResult.STS_WEBPKI_INVALID, f"{url}: {error}")
        except (HttpError, TimeoutError) as error:
            return TlsFault(TlsResult.STS_POLICY_FETCH_ERROR, f"{url}: {str(error) or 'no answer in time'}")
        if answer.status != 200:
            return TlsFault(TlsResult.STS_POLICY_FETCH_ERROR, f"{url}: HTTP status {answer.status}")
        if answer.content_type.partition(";")[0].strip().lower() != "text/plain":
            return TlsFault(TlsResult.STS_POLICY_INVALID, f"{url}: {answer.content_type or 'no type'}, not text/plain")
        try:
            return mta_sts.parse_policy(answer.body), answer.body
        except StsError as error:
            return TlsFault(TlsResult.STS_POLICY_INVALID, f"{url}: {error}")


def _valid(known: StoredPolicy | None) -> StsPolicy | None:
    """Return the policy as it was checked when it was fetched."""
    if known is None or known.policy is None:
        return None
    return mta_sts.parse_policy(known.policy)
