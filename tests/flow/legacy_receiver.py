"""A receiver whose TLS does not know RFC 5746 (secure renegotiation): GnuTLS can still be told to be one."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import threading
from pathlib import Path
from typing import Any

LIBRARY = ctypes.util.find_library("gnutls")
PRIORITIES = b"NORMAL:-VERS-TLS1.3:%DISABLE_SAFE_RENEGOTIATION"


class LegacyReceiver:
    """Takes one message a connection. ``encrypted``: whether each of them came over TLS."""

    def __init__(self, certificate: Path, key: Path, address: str = "127.0.0.2") -> None:
        assert LIBRARY is not None
        self.encrypted: list[bool] = []
        self._tls: Any = ctypes.CDLL(LIBRARY)
        self._tls.gnutls_record_recv.restype = self._tls.gnutls_record_send.restype = ctypes.c_ssize_t
        for name in ("gnutls_record_recv", "gnutls_record_send"):
            getattr(self._tls, name).argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self._credentials = ctypes.c_void_p()
        self._tls.gnutls_certificate_allocate_credentials(ctypes.byref(self._credentials))
        files = str(certificate).encode(), str(key).encode()
        assert self._tls.gnutls_certificate_set_x509_key_file(self._credentials, *files, 1) == 0
        self._socket = socket.create_server((address, 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        session: ctypes.c_void_p | None = None
        pending = b""

        def send(text: bytes) -> None:
            if session:
                self._tls.gnutls_record_send(session, text, len(text))
            else:
                connection.sendall(text)

        def line() -> bytes:
            nonlocal pending
            while b"\n" not in pending:
                if session:
                    buffer = ctypes.create_string_buffer(16384)
                    size = self._tls.gnutls_record_recv(session, buffer, 16384)
                    piece = buffer.raw[: max(0, size)]
                else:
                    piece = connection.recv(16384)
                if not piece:
                    return b""
                pending += piece
            first, _, pending = pending.partition(b"\n")
            return first + b"\n"

        with connection:
            send(b"220 legacy ready\r\n")
            while command := line():
                match command[:4].upper():
                    case b"EHLO":
                        send(b"250-legacy\r\n250 STARTTLS\r\n")
                    case b"STAR":
                        send(b"220 go\r\n")
                        if (session := self._handshake(connection)) is None:
                            return
                    case b"DATA":
                        send(b"354 go\r\n")
                        while line() not in (b".\r\n", b""):
                            pass
                        self.encrypted.append(session is not None)
                        send(b"250 2.0.0 taken\r\n")
                    case b"QUIT":
                        send(b"221 bye\r\n")
                        return
                    case _:
                        send(b"250 ok\r\n")

    def _handshake(self, connection: socket.socket) -> ctypes.c_void_p | None:
        session = ctypes.c_void_p()
        self._tls.gnutls_init(ctypes.byref(session), 1)
        assert self._tls.gnutls_priority_set_direct(session, PRIORITIES, None) == 0
        self._tls.gnutls_credentials_set(session, 1, self._credentials)
        self._tls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
        while (result := self._tls.gnutls_handshake(session)) < 0:
            if self._tls.gnutls_error_is_fatal(result):
                return None
        return session
