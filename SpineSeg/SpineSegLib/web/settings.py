"""How a server was asked to run, and why it refuses to where that would not be safe."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.models.model_catalogue import user_models_dir
from SpineSegLib.web.served_cases import find_cases


@dataclass(frozen=True)
class Peer:
    """Another DICOM application: its title, where it is, and its port where something is sent to it."""

    title: str
    host: str
    port: int = 0

    @classmethod
    def parse(cls, text: str, with_port: bool) -> Peer:
        """`TITLE@HOST`, or `TITLE@HOST:PORT`. Raises InputError."""
        match = re.fullmatch(r"(?P<title>[^@\\]{1,16})@(?P<host>[^@]+?)(:(?P<port>\d{1,5}))?", text)
        if match is None or with_port != bool(match["port"]) or not match["title"].strip():
            form = "TITLE@HOST:PORT" if with_port else "TITLE@ADDRESS"
            raise InputError(f"{text} names no DICOM application; write it as {form}.")
        return cls(match["title"].strip(), match["host"].strip("[]"), int(match["port"] or 0))


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach a server on this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class WebSettings:
    """`data`: folder whose cases everybody may open; `open`: the case of it that a session begins with; `store`: folder
    of the training set and the audit log.

    `sessions` may be open at once; `jobs` of them compute at once, the others wait in a queue. `upload_mb` is the size
    of one upload, unpacked. `debug`: sessions write what libraries say to the terminal, which may name files.

    `dicom_port`: where to listen for CT, None for not at all; from whom they are taken, and where results go.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    data: Path | None = None
    open: str | None = None
    store: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    tokens: Path | None = None
    sessions: int = 4
    jobs: int = 1
    upload_mb: int = 2048
    idle_minutes: float = 60.0
    debug: bool = False
    dicom_port: int | None = None
    dicom_host: str = "127.0.0.1"
    dicom_title: str = "SPINESEG"
    dicom_from: tuple[Peer, ...] = ()
    dicom_to: Peer | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this computer can reach the server."""
        return is_loopback(self.host)

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.certificate is not None

    @property
    def store_folder(self) -> Path:
        """Where training cases and the audit log are kept."""
        return self.store or user_models_dir().parent / "web"

    def check(self) -> None:
        """Raise InputError, with one sentence, where the server must not start like this."""
        if (self.certificate is None) != (self.private_key is None):
            raise InputError("TLS needs both --certificate and --private-key; give both.")
        for path in (self.certificate, self.private_key):
            if path is not None and not path.is_file():
                raise InputError(f"{path} does not exist; check the path.")
        if self.data is not None and not self.data.is_dir():
            raise InputError(f"{self.data} is not a folder; give the folder that holds the cases.")
        if self.open is not None and (self.data is None or self.open not in dict(find_cases(self.data))):
            raise InputError(f"{self.open} is no case in the folder of --data; give a name as the page lists it.")
        if not self.loopback and not (self.tls and self.tokens):
            raise InputError(
                f"On {self.host} others can reach the server, so it needs --certificate, --private-key and --tokens;"
                " without them it runs on 127.0.0.1 only."
            )
        if self.dicom_port is not None and self.dicom_to is None:
            raise InputError("A DICOM listener needs --dicom-to, where the segmentations go; give it.")
        if self.dicom_port is not None and not is_loopback(self.dicom_host) and not self.dicom_from:
            raise InputError(
                f"On {self.dicom_host} others can send DICOM, so it needs --dicom-from, from whom it is taken;"
                " without it the listener runs on 127.0.0.1 only."
            )
        if self.tokens is not None and not self.tokens.is_file():
            raise InputError(
                f"{self.tokens} does not exist; make it with `spineseg web --tokens FILE --new-token NAME`."
            )
