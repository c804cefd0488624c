"""A DICOM listener: CT sent by C-STORE is segmented in its turn, and the DICOM SEG goes back by C-STORE."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpineSegLib.engine.errors import OutputError
from SpineSegLib.engine.files.dicom_series import CT_CLASSES
from SpineSegLib.web.audit import Audit
from SpineSegLib.web.job_queue import JobQueue
from SpineSegLib.web.settings import Peer, WebSettings

MAX_INSTANCES = 10_000
JOB_SECONDS = 3600
OUT_OF_RESOURCES, SUCCESS = 0xA700, 0x0000  # PS3.7, annex C
USER = "dicom"


@dataclass(eq=False)
class Delivery:
    """What one association has sent: `instances` in `folder`, but those that were `too_many`; its turn to be computed
    comes by `tell`."""

    folder: Path
    instances: int = 0
    bytes: int = 0
    too_many: bool = False
    turn: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: dict[str, Any]) -> None:
        """Hear the place in the queue."""
        if message["position"] == 0:
            self.turn.set()


class DicomNode:
    """Listens from `start` to `stop`. Each association is a delivery, segmented when it was released in order."""

    def __init__(self, settings: WebSettings, audit: Audit, queue: JobQueue) -> None:
        self._settings = settings
        self._audit = audit
        self._queue = queue
        self._deliveries: dict[Any, Delivery] = {}
        self._jobs: set[asyncio.Task] = set()
        self._server: Any = None
        self.port = 0

    def start(self) -> None:
        """Listen, in threads of pynetdicom. Raises OutputError if the port is taken."""
        from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
        from pynetdicom.sop_class import Verification

        loop = asyncio.get_running_loop()
        entity = AE(self._settings.dicom_title)
        entity.maximum_associations = 4
        entity.require_called_aet = True
        entity.require_calling_aet = [peer.title for peer in self._settings.dicom_from]
        entity.add_supported_context(Verification)
        for uid in CT_CLASSES:
            entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)

        def on_loop(function: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda event: loop.call_soon_threadsafe(function, event.assoc)

        handlers = [
            (evt.EVT_REQUESTED, self._check_address),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, on_loop(self._take)),
            (evt.EVT_CONN_CLOSE, on_loop(self._forget)),
        ]
        address = (self._settings.dicom_host, self._settings.dicom_port)
        try:
            self._server = entity.start_server(address, block=False, evt_handlers=handlers)
        except OSError:
            raise OutputError(
                f"DICOM port {address[1]} on {address[0]} can't be used; choose another one with --dicom-port."
            ) from None
        self.port = self._server.server_address[1]

    async def stop(self) -> None:
        """Listen no longer; what is being computed is given up."""
        await asyncio.to_thread(self._server.shutdown)
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for delivery in self._deliveries.values():
            shutil.rmtree(delivery.folder, ignore_errors=True)

    # --- in threads of pynetdicom -------------------------------------------------------------------------------------

    def _check_address(self, event: Any) -> None:
        """A title is no secret: it counts only from its own address."""
        requestor = event.assoc.requestor
        known = Peer(requestor.primitive.calling_ae_title.strip(), requestor.address) in self._settings.dicom_from
        if self._settings.dicom_from and not known:
            self._audit.write(USER, "refused: unknown sender")
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # PS3.8, 9.3.4: permanent, user, calling title
            event.assoc.kill()

    def _store(self, event: Any) -> int:
        delivery = self._deliveries.get(event.assoc)
        if delivery is None:
            folder = Path(tempfile.mkdtemp(prefix="spineseg-dicom-"))
            delivery = self._deliveries[event.assoc] = Delivery(folder)
        data = event.encoded_dataset()
        delivery.instances += 1
        delivery.bytes += len(data)
        if delivery.instances > MAX_INSTANCES or delivery.bytes > self._settings.upload_mb * 2**20:
            delivery.too_many = True
            return OUT_OF_RESOURCES
        (delivery.folder / f"{delivery.instances:06d}.dcm").write_bytes(data)
        return SUCCESS

    # --- on the gateway's loop ----------------------------------------------------------------------------------------

    def _take(self, association: Any) -> None:
        delivery = self._deliveries.pop(association, None)
        if delivery is None:
            return
        size = {"instances": delivery.instances, "megabytes": round(delivery.bytes / 2**20, 1)}
        if delivery.too_many:  # without some of its slices a CT would look like a shorter one
            shutil.rmtree(delivery.folder, ignore_errors=True)
            self._audit.write(USER, "refused: too large", **size)
            return
        self._audit.write(USER, "received", **size)
        job = asyncio.get_running_loop().create_task(self._segment(delivery))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _forget(self, association: Any) -> None:
        """An association that broke: what came isn't complete."""
        delivery = self._deliveries.pop(association, None)
        if delivery is not None:
            shutil.rmtree(delivery.folder, ignore_errors=True)
            self._audit.write(USER, "refused: connection broke", instances=delivery.instances)

    async def _segment(self, delivery: Delivery) -> None:
        results = delivery.folder / "results"
        results.mkdir()
        self._queue.join(delivery)
        try:
            await delivery.turn.wait()
            counted = await self._run(delivery.folder, results)
            self._audit.write(USER, "segmented", **counted)
            sent = await asyncio.to_thread(send, sorted(results.iterdir()), self._settings)
            self._audit.write(USER, "returned", results=sent, of=counted["segmented"])
        except ValueError:
            self._audit.write(USER, "failed: the CT could not be segmented")
        finally:
            self._queue.leave(delivery)
            shutil.rmtree(delivery.folder, ignore_errors=True)

    async def _run(self, folder: Path, results: Path) -> dict[str, int]:
        """Raises ValueError where the program fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "SpineSegLib.web.dicom_job", str(folder), str(results)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if self._settings.debug else asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(JOB_SECONDS):
                said, _ = await process.communicate()
            return json.loads(said)
        except TimeoutError:
            raise ValueError from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def send(files: list[Path], settings: WebSettings) -> int:
    """Send DICOM SEG to where results go; returns how many were accepted."""
    from pydicom import dcmread
    from pynetdicom import AE
    from pynetdicom.sop_class import SegmentationStorage

    if not files:
        return 0
    target = settings.dicom_to
    entity = AE(settings.dicom_title)
    entity.add_requested_context(SegmentationStorage)
    association = entity.associate(target.host, target.port, ae_title=target.title)
    if not association.is_established:
        return 0
    accepted = 0
    try:
        for path in files:
            accepted += association.send_c_store(dcmread(path)).get("Status") == SUCCESS
    except RuntimeError:  # what pynetdicom raises where the other side has broken off
        pass
    finally:
        association.release()
    return accepted
