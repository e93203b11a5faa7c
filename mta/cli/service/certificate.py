"""``mta certificate``: what clients of the SMTP listeners are shown, and how they come to trust it.

Invariants: no private key is printed or written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli.context import load_settings
from mta.cli.options import ConfigOption, JsonOption
from mta.cli.output import fail, output_file, print_json


def register(app: typer.Typer) -> None:
    app.command("certificate")(show)


def show(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="Write the certificate chain there, for clients to trust.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the certificate of the SMTP listeners: its file, names, end and SHA-256 fingerprint."""
    from mta.smtp_server.tls import self_signed_path

    settings = load_settings(config)
    configured = settings.submission.tls.certificate
    path = configured or self_signed_path(settings.server.data_dir)
    chain = _chain(path, made_by_service=configured is None)
    found = _described(path, chain[0], self_signed=configured is None)
    if out is not None:
        from cryptography.hazmat.primitives.serialization import Encoding

        with output_file(out) as file:
            file.write("".join(each.public_bytes(Encoding.PEM).decode() for each in chain))
        found["written"] = str(out)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name:<12} {', '.join(value) if isinstance(value, list) else value}")
    if configured is None:
        print("\nIt is self-signed: a client trusts it once it is given the certificate (--out FILE).")


def _chain(path: Path, *, made_by_service: bool) -> list[Any]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        fail(f"{path}: there is none yet; " + ("`mta serve` makes it" if made_by_service else "see submission.tls"))
    except (OSError, ValueError) as error:
        fail(f"{path}: cannot be read as a certificate: {error}")


def _described(path: Path, certificate: Any, *, self_signed: bool) -> dict[str, object]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        named = []
    return {
        "file": str(path),
        "kind": "self-signed, for trials" if self_signed else "submission.tls.certificate",
        "names": named,
        "expires": certificate.not_valid_after_utc.isoformat(),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(":"),
    }
