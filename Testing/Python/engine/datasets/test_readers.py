"""Small folders in the layout of each data set."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from ct_samples import write_series
from SpineSegLib.engine.datasets.find import find_dataset
from SpineSegLib.engine.datasets.labels import SCHEMES
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.training.training_data import training_mask

SHAPE = (4, 5, 6)


def put(path, *labels, ct=False):
    """A small volume: a CT, or a mask whose voxels have the labels in turn."""
    array = np.resize(np.array(labels or (0,), dtype=np.int16), SHAPE)
    if ct:
        array = (np.arange(array.size).reshape(SHAPE) % 900 - 400).astype(np.int16)
    image = sitk.GetImageFromArray(array if ct else array.astype(np.uint8))
    image.SetSpacing((0.9, 0.9, 2.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def by_name(dataset):
    return {case.name: case for case in dataset.cases}


def reference(case):
    found = case.read_reference(case.read_volume())
    return found.structures, sorted(np.unique(sitk.GetArrayFromImage(found.image)).tolist())


def test_verse(tmp_path):
    part = tmp_path / "dataset-verse20test"
    for stem, subject in (("sub-verse004", "sub-verse004"), ("sub-gl003_split-1_dir-ax", "sub-gl003"),
                          ("sub-gl003_split-2_dir-ax", "sub-gl003")):  # fmt: skip
        put(part / "rawdata" / subject / f"{stem}_ct.nii.gz", ct=True)
        put(part / "derivatives" / subject / f"{stem}_seg-vert_msk.nii.gz", 0, 20, 21)
    put(part / "rawdata" / "sub-verse009" / "sub-verse009_ct.nii.gz", ct=True)
    for folder in (tmp_path, part):
        dataset = find_dataset(folder)
        assert dataset.kind == "VerSe"
        cases = by_name(dataset)
        assert [c.patient for c in dataset.cases].count("sub-gl003") == 2
        assert reference(cases["sub-verse004"]) == (SCHEMES["verse"], [0, 20, 21])
        assert cases["sub-verse009"].files == ()
        with pytest.raises(InputError, match="no reference"):
            reference(cases["sub-verse009"])


def test_ctspine1k(tmp_path):
    put(tmp_path / "rawdata" / "volumes" / "liver" / "liver_12.nii.gz", ct=True)
    put(tmp_path / "rawdata" / "labels" / "liver" / "liver_12_seg.nii.gz", 0, 24, 25)
    put(tmp_path / "rawdata" / "volumes" / "HNSCC" / "HN_P001_pre.nii.gz", ct=True)
    put(tmp_path / "rawdata" / "labels" / "HNSCC" / "HN_P001_pre_seg.nii.gz", 0, 3)
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "CTSpine1K"
    cases = by_name(dataset)
    assert reference(cases["liver_12"]) == (SCHEMES["verse"], [0, 24, 25])
    assert cases["HN_P001_pre"].patient == "HN_P001"
    assert cases["liver_12"].partial  # what lies beyond the vertebrae that were drawn, nobody knows
    (tmp_path / "rawdata" / "volumes").rename(tmp_path / "data")
    (tmp_path / "rawdata" / "labels").rename(tmp_path / "label")
    assert set(by_name(find_dataset(tmp_path))) == {"liver_12", "HN_P001_pre"}


def test_totalsegmentator(tmp_path):
    for name in ("s0011", "s0058"):
        put(tmp_path / name / "ct.nii.gz", ct=True)
        put(tmp_path / name / "segmentations" / "vertebrae_L5.nii.gz", 1, 0, 0, 0)
        put(tmp_path / name / "segmentations" / "vertebrae_L4.nii.gz", 0, 1, 0, 0)
        put(tmp_path / name / "segmentations" / "sacrum.nii.gz", 0, 0, 1, 0)
        put(tmp_path / name / "segmentations" / "liver.nii.gz", 0, 0, 0, 1)
    (tmp_path / "meta.csv").write_text("image_id\n")
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "TotalSegmentator"
    structures, labels = reference(by_name(dataset)["s0011"])
    assert sorted(structures.values()) == ["L4", "L5", "sacrum"]
    assert labels == [0, *sorted(structures)]  # the liver is background
    found = by_name(dataset)["s0011"]
    image = found.read_reference(found.read_volume()).image
    flat = [structures.get(v) for v in sitk.GetArrayFromImage(image).ravel()[:4]]
    assert flat == ["L5", "L4", "sacrum", None]


def nnunet(folder, labels):
    put(folder / "imagesTr" / "spine_001_0000.nii.gz", ct=True)
    put(folder / "labelsTr" / "spine_001.nii.gz", 0, 1, 2)
    put(folder / "imagesTr" / "spine_002_0000.nii.gz", ct=True)
    put(folder / "imagesTs" / "spine_009_0000.nii.gz", ct=True)
    about = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "labels", [{"background": 0, "L5": 1, "sacrum": 2}, {"0": "background", "1": "L5", "2": "sacrum"}]
)
def test_nnunet(tmp_path, labels):
    nnunet(tmp_path, labels)
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "nnU-Net"
    cases = by_name(dataset)
    assert set(cases) == {"spine_001", "spine_002"}  # test cases have no labels
    assert reference(cases["spine_001"]) == ({1: "L5", 2: "sacrum"}, [0, 1, 2])
    assert cases["spine_002"].files == ()


@pytest.mark.parametrize("name", ["L5", "bone"])
def test_what_an_nnunet_data_set_ignores_is_no_structure(tmp_path, name):
    nnunet(tmp_path, {"background": 0, name: 1, "ignore": 2})
    for scheme, structures in ((None, {1: "L5"} if name == "L5" else None), ("any", {1: "spine"})):
        case = by_name(find_dataset(tmp_path, scheme))["spine_001"]
        found = case.read_reference(case.read_volume())
        assert (found.structures, found.ignored) == (structures, 2)
    put(tmp_path / "labelsTr" / "spine_001.nii.gz", 0, 1)
    assert case.read_reference(case.read_volume()).ignored is None


def test_nnunet_that_is_no_ct_or_damaged(tmp_path):
    nnunet(tmp_path, {})
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1", "1": "T2"}}))
    with pytest.raises(InputError, match="2 channels"):
        find_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        find_dataset(tmp_path)


def ircadb(folder, masks):
    """A case whose masks are named like their slices but don't know their place; the top slice is marked in a row."""
    files = write_series(folder / "PATIENT_DICOM")
    heights = [pydicom.dcmread(file).ImagePositionPatient[2] for file in files]
    for name, row in masks.items():
        (folder / "MASKS_DICOM" / name).mkdir(parents=True)
        for file, height in zip(files, heights, strict=True):
            mask = pydicom.dcmread(file)
            pixels = np.zeros((mask.Rows, mask.Columns), dtype=np.int16)
            pixels[row] = 255 * (height == max(heights))
            mask.PixelData = pixels.tobytes()
            del mask.ImagePositionPatient
            mask.save_as(folder / "MASKS_DICOM" / name / file.name)


def test_ircadb(tmp_path):
    ircadb(tmp_path / "3Dircadb1.1", {"vertebrae": 2, "liver": 5})
    ircadb(tmp_path / "3Dircadb1.2", {"bone": 3, "liver": 5})
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "3D-IRCADb"
    first, second = dataset.cases
    volume = first.read_volume()
    found = first.read_reference(volume)
    assert found.structures == {1: "vertebrae"}
    marked = np.argwhere(sitk.GetArrayFromImage(found.image))
    top = max(volume.image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(7))
    places = {volume.image.TransformIndexToPhysicalPoint(m[::-1].tolist())[2] for m in marked}
    assert places == {top}
    assert set(marked[:, 1]) == {2}
    assert second.read_reference(second.read_volume()).structures == {1: "spine"}
    assert "ribs" in second.notes[0]
    training_mask(first, volume)
    with pytest.raises(InputError, match="other bones"):  # ribs must not be learned as vertebrae
        training_mask(second, second.read_volume())
    next((tmp_path / "3Dircadb1.1" / "MASKS_DICOM" / "vertebrae").iterdir()).unlink()
    with pytest.raises(InputError, match="gap"):
        first.read_reference(volume)


def test_plain_subfolders(tmp_path):
    put(tmp_path / "a" / "ct.nii.gz", ct=True)
    put(tmp_path / "a" / "mask.nii.gz", 0, 1, 2)
    (tmp_path / "a" / "case.json").write_text('{"patient": "p7"}')
    put(tmp_path / "b" / "image.nrrd", ct=True)
    put(tmp_path / "b" / "label.nrrd", 0, 1)
    put(tmp_path / "c" / "ct.nii.gz", ct=True)
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "plain folder"
    cases = by_name(dataset)
    assert [(c.patient, c.guessed) for c in dataset.cases] == [("p7", False), ("b", True), ("c", True)]
    assert reference(cases["a"])[0] == SCHEMES["spineseg"]
    assert reference(cases["b"])[0] is None
    assert cases["c"].files == ()


@pytest.mark.parametrize(
    ("ct", "mask"),
    [
        ("{0}_ct.nii.gz", "{0}_mask.nii.gz"), ("{0}.nii.gz", "{0}_seg.nii.gz"), ("{0}-CT.nrrd", "{0}-label.nrrd"),
        ("images/{0}.nii.gz", "labels/{0}.nii.gz"), ("ct/{0}_ct.nii.gz", "masks/{0}_mask.nii.gz"),
    ],
)  # fmt: skip
def test_plain_pairs(tmp_path, ct, mask):
    for name in ("p1", "p_2"):
        put(tmp_path / ct.format(name), ct=True)
        put(tmp_path / mask.format(name), 0, 1, 2)
    put(tmp_path / ct.format("alone"), ct=True)
    cases = by_name(find_dataset(tmp_path))
    assert {name: bool(case.files) for name, case in cases.items()} == {"p1": True, "p_2": True, "alone": False}
    assert reference(cases["p_2"]) == (SCHEMES["spineseg"], [0, 1, 2])


@pytest.mark.parametrize(
    ("ct", "segmentation", "mask"),
    [
        ("p1/ct.nii.gz", "p1/ct.seg.nrrd", "p1/mask.nii.gz"), ("p1.nii.gz", "p1.seg.nrrd", "p1_mask.nii.gz"),
        ("images/p1.nii.gz", "images/p1.seg.nrrd", "labels/p1.nii.gz"),
    ],
)  # fmt: skip
def test_a_segmentation_beside_its_ct_is_no_ct(tmp_path, ct, segmentation, mask):
    put(tmp_path / ct, ct=True)
    put(tmp_path / segmentation, 0, 1, 2)  # where `spineseg segment` writes it
    put(tmp_path / mask, 0, 1, 2)
    (case,) = find_dataset(tmp_path).cases
    assert (case.ct, case.files) == (tmp_path / ct, (tmp_path / mask,))


def test_patterns(tmp_path):
    put(tmp_path / "x" / "p1" / "scan.nii.gz", ct=True)
    put(tmp_path / "x" / "p1" / "p1-manual.nii.gz", 0, 20)
    dataset = find_dataset(tmp_path, "verse", ("x/{case}/scan.nii.gz", "x/{case}/{case}-manual.nii.gz"))
    assert reference(dataset.cases[0]) == (SCHEMES["verse"], [0, 20])
    with pytest.raises(InputError, match=r"hold \{case\}"):
        find_dataset(tmp_path, patterns=("x/p1/scan.nii.gz", "{case}.nii.gz"))
    with pytest.raises(InputError, match="check the patterns"):
        find_dataset(tmp_path, patterns=("{case}.nii", "{case}_m.nii"))


def test_names_of_dicom_folders_are_private(tmp_path):
    for name in ("DOE^JANE", "case_0007"):
        write_series(tmp_path / name / "dicom")
        put(tmp_path / name / "mask.nii.gz", 0, 1)
    put(tmp_path / "scan" / "ct.nii.gz", ct=True)
    cases = by_name(find_dataset(tmp_path))
    assert {name: case.private for name, case in cases.items()} == {"DOE^JANE": True, "case_0007": False, "scan": False}


def test_nothing_to_find(tmp_path):
    with pytest.raises(InputError, match="holds no CT with a mask"):
        find_dataset(tmp_path)
    put(tmp_path / "a" / "ct.nii.gz", ct=True)
    with pytest.raises(InputError, match="holds no CT with a mask"):
        find_dataset(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        find_dataset(tmp_path / "a" / "ct.nii.gz")
    with pytest.raises(InputError, match="does not exist"):
        find_dataset(tmp_path / "nowhere")


def test_masks_on_different_grids(tmp_path):
    put(tmp_path / "s1" / "ct.nii.gz", ct=True)
    put(tmp_path / "s1" / "segmentations" / "vertebrae_L5.nii.gz", 1, 0)
    put(tmp_path / "s1" / "segmentations" / "vertebrae_L4.nii.gz", 0, 1)
    moved = sitk.ReadImage(str(tmp_path / "s1" / "segmentations" / "vertebrae_L4.nii.gz"))
    moved.SetOrigin((50.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(tmp_path / "s1" / "segmentations" / "vertebrae_L4.nii.gz"))
    with pytest.raises(InputError, match="another grid"):
        reference(find_dataset(tmp_path).cases[0])


def test_real_folder(shared_data):
    """CT as files and as DICOM with masks in TotalSegmentator's and VerSe's numbers, as their README has it."""
    dataset = find_dataset(shared_data / "cases")
    assert dataset.kind == "plain folder"
    cases = by_name(dataset)
    assert cases["lidc_0314"].files == ()
    assert cases["ts_example_dicom"].private
    expected = {
        "ts_example_ct": ("totalsegmentator", {"T11", "T12", "L1", "L5", "sacrum"}),
        "ts_example_dicom": ("totalsegmentator", {"T11", "T12"}),
        "tptbox_L3": ("verse", {"L2", "L3", "L4"}),
    }
    for name, (scheme, levels) in expected.items():
        (case,) = (c for c in find_dataset(shared_data / "cases", scheme).cases if c.name == name)
        found = case.read_reference(case.read_volume())
        marked = {found.structures[v] for v in np.unique(sitk.GetArrayFromImage(found.image)) if v}
        assert levels <= marked


def test_a_folder_with_several_series_is_told_without_identifiers(tmp_path):
    """Reports are passed on, and nobody can choose a series where a whole data set is read."""
    from ct_samples import write_series
    from SpineSegLib.engine.datasets.plain import find

    for seed in (1, 2):
        write_series(tmp_path / "a" / "dicom" / str(seed), seed=seed, series_number=3)
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkUInt8), str(tmp_path / "a" / "mask.nii.gz"))
    (case,) = find(tmp_path)
    with pytest.raises(InputError, match="holds 2 CT series") as error:
        case.read_volume()
    assert "UID" not in str(error.value)
    assert "--series" not in str(error.value)


def test_a_mask_beside_the_ct_counts_and_not_what_totalsegmentator_made_of_it(tmp_path):
    put(tmp_path / "a" / "ct.nii.gz", ct=True)
    put(tmp_path / "a" / "mask.nii.gz", 1, 2)
    put(tmp_path / "a" / "segmentations" / "vertebrae_L3.nii.gz", 0, 1)
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "plain folder"
    assert [case.files for case in dataset.cases] == [(tmp_path / "a" / "mask.nii.gz",)]
