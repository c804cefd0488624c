"""What label numbers and segment names mean."""

import numpy as np
import pytest
import SimpleITK as sitk
from SpineSegLib.engine.datasets.case import meaning_of_labels
from SpineSegLib.engine.datasets.labels import (
    LEVELS,
    SCHEMES,
    structure_of,
    structures_of_names,
    to_training_labels,
    training_label,
)
from SpineSegLib.engine.errors import InputError
from SpineSegLib.engine.segments import SINGLE_VERTEBRAE


@pytest.mark.parametrize(
    ("scheme", "numbers"),
    [
        ("verse", {"C1": 1, "C7": 7, "T1": 8, "T12": 19, "L1": 20, "L5": 24, "L6": 25, "T13": 28}),
        ("totalsegmentator", {"L5": 27, "L1": 31, "T12": 32, "T1": 43, "C7": 44, "C1": 50}),
        ("totalsegmentator-v1", {"L5": 18, "L1": 22, "T12": 23, "T1": 34, "C7": 35, "C1": 41, "sacrum": 92}),
        ("totalspineseg", {"C1": 11, "C7": 17, "T1": 21, "T12": 32, "L1": 41, "L5": 45, "sacrum": 50}),
        ("spineseg", {"vertebrae": 1, "sacrum": 2}),
    ],
)
def test_numbers_as_published(scheme, numbers):
    assert {SCHEMES[scheme][number] for number in numbers.values()} == set(numbers)
    assert all(SCHEMES[scheme][number] == key for key, number in numbers.items())


def test_schemes_name_each_level_once():
    for name, scheme in SCHEMES.items():
        levels = [key for key in scheme.values() if key in LEVELS]
        assert len(levels) == len(set(levels)), name
    assert {s.key: s.label for s in SINGLE_VERTEBRAE}.items() <= {k: v for v, k in SCHEMES["verse"].items()}.items()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vertebrae_L5", "L5"), ("L5 vertebra", "L5"), ("t12", "T12"), ("Vertebra C1", "C1"), ("L05", "L5"),
        ("Th12", "T12"), ("TH9 vertebra", "T9"), ("thoracic vertebra 12", "T12"), ("Lumbar vertebra L1", "L1"),
        ("T12 vertebral body", "T12"), ("C1 (Atlas)", "C1"), ("Axis", "C2"), ("LWK3", "L3"), ("BWK 11", "T11"),
        ("S1 vertebra", "sacrum"), ("sacral vertebra 2", "sacrum"), ("S6", None), ("C8", None), ("Thorax", None),
        ("Sacrum", "sacrum"), ("vertebrae_S1", "sacrum"), ("Vertebrae", "vertebrae"), ("Spine", "spine"),
        ("liver", None), ("vertebrae_L9", None), ("disc_L4_L5", None), ("spinal_cord", None), ("rib_left_5", None),
    ],
)  # fmt: skip
def test_names(name, key):
    assert structure_of(name) == key


def test_names_of_a_whole_body():
    names = {1: "spleen", 27: "vertebrae_L5", 25: "sacrum"}
    assert structures_of_names(names) == {27: "L5", 25: "sacrum"}
    assert structures_of_names({1: "Segment_1"}) is None


def test_training_labels():
    mask = sitk.GetImageFromArray(np.array([[[0, 24, 26, 28, 99]]], dtype=np.uint16))
    mask.SetSpacing((2.0, 3.0, 4.0))
    found = to_training_labels(mask, SCHEMES["verse"])
    assert sitk.GetArrayFromImage(found).tolist() == [[[0, 1, 2, 1, 0]]]
    assert found.GetSpacing() == (2.0, 3.0, 4.0)
    # one of several labels nobody explains may be the sacrum: what learns from the mask refuses them
    assert sitk.GetArrayFromImage(to_training_labels(mask, None)).tolist() == [[[0, 24, 26, 28, 99]]]
    assert sitk.GetArrayFromImage(to_training_labels(image(0, 255, 0), None)).tolist() == [[[0, 1, 0]]]
    assert sitk.GetArrayFromImage(to_training_labels(image(0, 1, 2), None, ignored=2)).tolist() == [[[0, 1, 255]]]
    assert sitk.GetArrayFromImage(to_training_labels(image(0, 1, 3), {1: "sacrum"}, 3)).tolist() == [[[0, 2, 255]]]
    assert training_label("L3") == training_label("vertebrae") == 1


def image(*labels):
    return sitk.GetImageFromArray(np.array([[list(labels)]], dtype=np.uint8))


def test_meaning():
    assert meaning_of_labels(image(0, 1, 2)) == SCHEMES["spineseg"]
    assert meaning_of_labels(image(0, 1)) is None
    assert meaning_of_labels(image(0, 20, 21)) is None
    assert meaning_of_labels(image(0, 20, 21), "verse") == SCHEMES["verse"]
    assert meaning_of_labels(image(0, 1, 2), "any") is None
    assert meaning_of_labels(image(0, 0), "verse") == SCHEMES["verse"]
    with pytest.raises(InputError, match="scheme totalspineseg"):
        meaning_of_labels(image(0, 1, 2), "totalspineseg")
    named = image(0, 1, 2)
    for n, (label, name) in enumerate(((1, "L4 vertebra"), (2, "L5 vertebra"))):
        named.SetMetaData(f"Segment{n}_LabelValue", str(label))
        named.SetMetaData(f"Segment{n}_Name", name)
    assert meaning_of_labels(named) == {1: "L4", 2: "L5"}
