"""What of the server's folder people are offered."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
from ct_samples import assert_sentence, write_series
from SpineSegLib.engine.errors import InputError
from SpineSegLib.web.served_cases import DEPTH, find_cases
from SpineSegLib.web.settings import WebSettings


@pytest.fixture
def data(tmp_path):
    """A folder of a DICOM series, a volume and what is neither."""
    data = tmp_path / "data"
    write_series(data / "anna" / "ct")
    (data / "anna" / "notes.txt").write_text("no case")
    sitk.WriteImage(sitk.Image(2, 2, 2, sitk.sitkInt16), str(data / "chest.nii.gz"))
    return data


def test_series_and_volumes_are_offered_and_nothing_else(data):
    assert dict(find_cases(data)) == {"chest.nii.gz": data / "chest.nii.gz", "anna/ct": data / "anna" / "ct"}


def test_links_lead_nowhere(data, tmp_path):
    offered = dict(find_cases(data))
    write_series(tmp_path / "secret")
    sitk.WriteImage(sitk.Image(2, 2, 2, sitk.sitkInt16), str(tmp_path / "secret.nii.gz"))
    (data / "folder").symlink_to(tmp_path / "secret")
    (data / "volume.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    (data / "anna" / "slice.dcm").symlink_to(next((tmp_path / "secret").iterdir()))
    (data / "linked").mkdir()
    (data / "linked" / "slice.dcm").symlink_to(next((tmp_path / "secret").iterdir()))
    assert dict(find_cases(data)) == offered


def test_folders_too_deep_are_left_out(data):
    deep = data.joinpath(*"abcdefgh"[: DEPTH + 1])
    deep.mkdir(parents=True)
    sitk.WriteImage(sitk.Image(2, 2, 2, sitk.sitkInt16), str(deep / "deep.nii.gz"))
    assert not any("deep" in name for name in dict(find_cases(data)))


def test_a_session_begins_only_with_a_case_that_is_offered(data):
    WebSettings(data=data, open="anna/ct").check()
    for settings in (WebSettings(data=data, open="../secret"), WebSettings(open="anna/ct")):
        with pytest.raises(InputError) as error:
            settings.check()
        assert_sentence(error)
