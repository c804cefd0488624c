"""CT in by C-STORE, DICOM SEG out by C-STORE, with pynetdicom's own applications and Orthanc as the PACS."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from ct_samples import assert_sentence, write_series
from geometry import smooth_ct
from SpineSegLib.engine.errors import InputError, OutputError
from SpineSegLib.engine.files.reading import read_labelmap
from SpineSegLib.web.audit import Audit
from SpineSegLib.web.job_queue import JobQueue
from SpineSegLib.web.settings import Peer, WebSettings

pytest.importorskip("pynetdicom", reason="pynetdicom is needed to talk with a PACS: pip install 'spineseg[web]'")

from SpineSegLib.web.dicom_node import DicomNode, send

PATIENCE = 90


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def sends(port: int, folder, title="PACS") -> int:
    """Exit code of pynetdicom's storescu."""
    command = ("-m", "pynetdicom", "storescu", "127.0.0.1", str(port), str(folder), "-r", "-aet", title)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, "-aec", "SPINESEG")
    return await process.wait()


async def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.fixture
def pacs(tmp_path):
    """pynetdicom's storescp: where results arrive, and its port."""
    port = free_port()
    command = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(tmp_path / "pacs")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield tmp_path / "pacs", port
    process.terminate()
    process.wait()


@pytest.fixture
def listening(tmp_path):
    """Run a coroutine function with a listener; gives what it wrote into the audit log."""

    def run(visit, port, listen=0, **more):
        settings = WebSettings(dicom_port=listen, dicom_to=Peer("ANY", "127.0.0.1", port), **more)
        settings.check()
        audit = Audit(tmp_path / "audit.jsonl")

        def log():
            return [json.loads(line) for line in audit.path.read_text().splitlines()] if audit.path.exists() else []

        async def go():
            queue = JobQueue(1, lambda who, position: who.tell({"position": position}))
            node = DicomNode(settings, audit, queue)
            node.start()
            try:
                await visit(node.port, log)
            finally:
                await node.stop()

        asyncio.run(go())
        return log()

    return run


def test_a_study_comes_back_segmented(listening, pacs, tmp_path, monkeypatch, study, small_model, expected_mask):
    arrived, port = pacs
    monkeypatch.setenv("SPINESEG_MODELS", str(small_model.parent))
    files = list(shutil.copytree(study, tmp_path / "study" / "ct").iterdir())
    write_series(tmp_path / "study" / "scout", smooth_ct(size=(64, 60, 3)), series_number=2)

    async def visit(port, log):
        assert await sends(port, tmp_path / "study") == 0
        await until(lambda: any(line["event"] in ("returned", "failed") for line in log()))

    log = listening(visit, port, dicom_from=(Peer("PACS", "127.0.0.1"),))
    assert [line["event"] for line in log] == ["received", "segmented", "returned"]
    assert (log[0]["instances"], log[1]["segmented"], log[1]["refused"], log[2]["results"]) == (len(files) + 3, 1, 1, 1)
    assert "Doe" not in json.dumps(log)

    (result,) = arrived.iterdir()
    source, segmentation = pydicom.dcmread(files[0]), pydicom.dcmread(result)
    assert (segmentation.Modality, segmentation.PatientID) == ("SEG", source.PatientID)
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    mask = sitk.Resample(read_labelmap(result), expected_mask, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(expected_mask))


@pytest.fixture
def orthanc(tmp_path):
    """A running Orthanc, which knows SpineSeg at a port; gives the address of its REST interface, and the ports."""
    program = shutil.which("Orthanc") or pytest.skip("Orthanc is not here: apt install orthanc")
    http, dicom, ours = (free_port() for _ in range(3))
    settings = {
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "DicomModalities": {"spineseg": ["SPINESEG", "127.0.0.1", ours]},
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    yield f"http://127.0.0.1:{http}", dicom, ours
    process.terminate()
    process.wait()


def test_orthanc_gets_back_the_segmentation_of_a_study(
    orthanc, listening, tmp_path, monkeypatch, study, small_model, expected_mask
):
    import aiohttp

    address, port, ours = orthanc
    monkeypatch.setenv("SPINESEG_MODELS", str(small_model.parent))

    async def visit(_, log):
        async with aiohttp.ClientSession(address) as client:

            async def ask(path, **data):
                async with client.request("POST" if data else "GET", path, **data) as answer:
                    assert answer.status == 200, await answer.text()
                    return await (answer.json() if answer.content_type == "application/json" else answer.read())

            async def awake():
                try:
                    return await ask("/system")
                except aiohttp.ClientConnectorError:
                    return None

            while await awake() is None:
                await asyncio.sleep(0.1)
            for path in study.iterdir():
                await ask("/instances", data=path.read_bytes())
            (case,) = await ask("/studies")
            await ask("/modalities/spineseg/store", json={"Resources": [case]})
            await until(lambda: any(line["event"] in ("returned", "failed") for line in log()))
            (case,) = await ask("/studies?expand")  # the result belongs to the same study
            series = [await ask(f"/series/{each}") for each in case["Series"]]
            (result,) = (each for each in series if each["MainDicomTags"]["Modality"] == "SEG")
            (tmp_path / "result.dcm").write_bytes(await ask(f"/instances/{result['Instances'][0]}/file"))

    log = listening(visit, port, listen=ours, dicom_from=(Peer("ORTHANC", "127.0.0.1"),))
    assert [line["event"] for line in log] == ["received", "segmented", "returned"]
    assert log[0]["instances"] == len(list(study.iterdir()))
    mask = sitk.Resample(
        read_labelmap(tmp_path / "result.dcm"), expected_mask, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(expected_mask))


def test_strangers_and_broken_connections_leave_nothing(listening, tmp_path):
    write_series(tmp_path / "ct", smooth_ct(size=(20, 20, 3)))

    async def visit(port, log):
        assert await sends(port, tmp_path / "ct", title="STRANGER") != 0
        from pynetdicom import AE
        from pynetdicom.sop_class import CTImageStorage

        entity = AE("PACS")
        entity.add_requested_context(CTImageStorage)
        association = await asyncio.to_thread(entity.associate, "127.0.0.1", port, ae_title="SPINESEG")
        assert association.is_established
        path = next((tmp_path / "ct").iterdir())
        assert (await asyncio.to_thread(association.send_c_store, pydicom.dcmread(path))).Status == 0
        association.abort()
        await until(lambda: any("broke" in line["event"] for line in log()))

    log = listening(visit, free_port(), dicom_from=(Peer("PACS", "127.0.0.1"),))
    assert [line["event"] for line in log if "refused" not in line["event"]] == []


def test_a_pacs_that_breaks_off_gets_no_more(tmp_path):
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import SegmentationStorage

    files = write_series(tmp_path / "ct", smooth_ct(size=(8, 8, 3)))
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SegmentationStorage
        dataset.save_as(path)
    got = []

    def store(event):
        got.append(event)
        if len(got) == 2:
            event.assoc.abort()
        return 0x0000

    pacs = AE("PACS")
    pacs.add_supported_context(SegmentationStorage)
    server = pacs.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        peer = Peer("PACS", "127.0.0.1", server.server_address[1])
        assert send(list(files), WebSettings(dicom_to=peer)) == 1
    finally:
        server.shutdown()
    assert len(got) == 2


def test_too_much_is_refused(listening, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    write_series(tmp_path / "ct", sitk.Cast(sitk.AdditiveGaussianNoise(smooth_ct(size=(512, 512, 4))), sitk.sitkInt16))

    async def visit(port, log):
        await sends(port, tmp_path / "ct")
        await until(log)

    log = listening(visit, free_port(), upload_mb=1)
    assert [(line["event"], line["instances"]) for line in log] == [("refused: too large", 4)]
    assert not any((tmp_path / "temporary").iterdir())


def test_a_listener_for_others_needs_to_know_them(tmp_path):
    everybody = {"dicom_port": 11112, "dicom_host": "0.0.0.0", "dicom_to": Peer("PACS", "10.0.0.1", 104)}
    WebSettings(**everybody, dicom_from=(Peer("PACS", "10.0.0.1"),)).check()
    for wrong in (everybody, {"dicom_port": 11112}):
        with pytest.raises(InputError) as error:
            WebSettings(**wrong).check()
        assert_sentence(error)


@pytest.mark.parametrize(
    ("text", "with_port"),
    [
        ("PACS", False),
        ("@host", False),
        ("PACS@", False),
        ("PACS@host", True),
        ("PACS@host:1", False),
        ("P\\A@h", False),
    ],
)
def test_what_names_no_application_is_refused(text, with_port):
    with pytest.raises(InputError) as error:
        Peer.parse(text, with_port)
    assert_sentence(error)


def test_applications_are_named_by_title_address_and_port():
    assert Peer.parse("PACS 1@10.0.0.1:104", with_port=True) == Peer("PACS 1", "10.0.0.1", 104)
    assert Peer.parse("PACS@[::1]:104", with_port=True) == Peer("PACS", "::1", 104)
    assert Peer.parse("PACS@10.0.0.1", with_port=False) == Peer("PACS", "10.0.0.1")


def test_a_dicom_port_that_is_taken_is_said(tmp_path):
    async def go(port):
        settings = WebSettings(dicom_port=port, dicom_to=Peer("PACS", "127.0.0.1", 104))
        DicomNode(settings, Audit(tmp_path / "audit.jsonl"), JobQueue(1, lambda *_: None)).start()

    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OutputError) as error:
        asyncio.run(go(other.getsockname()[1]))
    assert_sentence(error)
