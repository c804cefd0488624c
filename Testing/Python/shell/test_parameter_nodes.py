"""Typed parameters as Slicer's developer guide describes them."""

import enum
import pathlib
from typing import Annotated, Optional, Union

import pytest


@pytest.fixture
def node(shell):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def wrap(**annotations):
    """A wrapper class with these parameters."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": annotations}))


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


def test_kept_as_text_and_reference(node):
    import slicer

    parameters = wrap(count=int, name=str, folder=pathlib.Path, side=Side, volume=slicer.vtkMRMLScalarVolumeNode)(node)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.count, parameters.name, parameters.folder = 4, "L1", pathlib.Path("/data")
    parameters.side, parameters.volume = Side.RIGHT, volume
    assert node.GetParameter("count") == "4"
    assert node.GetParameter("folder") == "/data"
    assert node.GetNodeReferenceID("volume") == volume.GetID()
    again = wrap(count=int, name=str, folder=pathlib.Path, side=Side, volume=slicer.vtkMRMLScalarVolumeNode)(node)
    assert (again.count, again.name, again.folder, again.side) == (4, "L1", pathlib.Path("/data"), Side.RIGHT)
    assert again.volume is volume
    slicer.mrmlScene.RemoveNode(volume)
    assert again.volume is None


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        (int, 1.5, TypeError),
        (int, None, ValueError),
        (int, "1", TypeError),
        (float, "1", TypeError),
        (str, 1, TypeError),
        (bool, 1, TypeError),
        (pathlib.Path, "/data", TypeError),
        (Side, 1, TypeError),
        (list[int], ["a"], TypeError),
        (Optional[int], "a", TypeError),  # noqa: UP045 (Slicer takes no other spelling)
    ],
)
def test_wrong_types_are_refused_and_change_nothing(node, kind, value, error):
    parameters = wrap(value=kind)(node)
    before = parameters.value
    with pytest.raises(error):
        parameters.value = value
    assert parameters.value == before


def test_validators_and_defaults(node):
    from slicer.parameterNodeWrapper import Choice, Default, Exclude, Maximum, Minimum, WithinRange

    parameters = wrap(
        part=Annotated[float, WithinRange(0, 1), Default(0.5)],
        low=Annotated[int, Minimum(2), Default(3)],
        high=Annotated[int, Maximum(9)],
        model=Annotated[str, Choice(["a", "b"]), Default("b")],
        other=Annotated[int, Exclude([7])],
    )(node)
    assert (parameters.part, parameters.low, parameters.model) == (0.5, 3, "b")
    for name, value in (("part", 1.1), ("low", 1), ("high", 10), ("model", "c"), ("other", 7)):
        with pytest.raises(ValueError):
            setattr(parameters, name, value)
    assert parameters.default("part").value == 0.5
    assert parameters.isCached("part")


def test_lists_and_dictionaries_write_themselves(node):
    parameters = wrap(numbers=list[int], words=dict[str, list[float]], pair=tuple[int, str])(node)
    parameters.numbers = [1, 2]
    parameters.numbers.append(3)
    parameters.words = {"a": [1.5]}
    parameters.words["b"] = []
    parameters.pair = (1, "x")
    again = wrap(numbers=list[int], words=dict[str, list[float]], pair=tuple[int, str])(node)
    assert again.numbers == [1, 2, 3]
    assert again.words == {"a": [1.5], "b": []}
    assert again.pair == (1, "x")
    with pytest.raises(TypeError):
        parameters.numbers.append("x")
    assert again.numbers == [1, 2, 3]


def test_packs(node):
    from slicer.parameterNodeWrapper import FloatRange, parameterPack

    @parameterPack
    class Box:
        __annotations__ = {"x": float, "name": str}

    parameters = wrap(box=Box, span=FloatRange)(node)
    parameters.box.x = 4
    parameters.setValue("box.name", "b")
    parameters.span = FloatRange(1, 2)
    assert wrap(box=Box, span=FloatRange)(node).box == Box(4, "b")
    assert float(node.GetParameter("box.x")) == 4
    with pytest.raises(TypeError):
        parameters.box.x = "a"
    with pytest.raises(ValueError):
        FloatRange(3, 2)


def test_types_that_slicer_refuses(node, session):
    import slicer

    with pytest.raises(Exception, match="Unable to create serializer"):
        wrap(value=complex)
    with pytest.raises(Exception, match="Unable to create serializer"):
        wrap(value=slicer.vtkMRMLScalarVolumeNode | None)
    with pytest.raises(ValueError, match="reserved name"):
        wrap(connectGui=int)


def test_a_change_from_elsewhere(node):
    """VTK calls the observer that came first last, so that the first parameter is known anew only after all others."""
    parameters = wrap(first=int, count=int)(node)
    seen = []
    parameters.AddObserver("ModifiedEvent", lambda *_: seen.append(parameters.count))
    node.SetParameter("count", "8")
    assert parameters.count == 8
    parameters.count = 9
    assert seen == [8, 9]


def bind(node, widget, kind):
    parameters = wrap(value=kind)(node)
    return parameters, parameters.connectParametersToGui({"value": widget})


def test_widgets_and_parameters_follow_each_other(node):
    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import FloatRange, Minimum, RangeBounds, WithinRange

    def check(widget, kind, prop, shown, value):
        parameters, tag = bind(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"), widget, kind)
        setattr(widget, prop, shown)
        assert parameters.value == value
        parameters.disconnectGui(tag)

    check(qt.QCheckBox(), bool, "checked", True, True)
    check(qt.QPushButton(), bool, "checked", True, True)
    check(qt.QSpinBox(), Annotated[int, Minimum(-5)], "value", -5, -5)
    check(qt.QSlider(), Annotated[int, WithinRange(0, 9)], "value", 4, 4)
    check(qt.QDoubleSpinBox(), float, "value", 1.5, 1.5)
    check(ctk.ctkSliderWidget(), Annotated[float, WithinRange(-9, 9)], "value", -2.5, -2.5)
    check(qt.QComboBox(), Side, "currentIndex", 1, Side.RIGHT)
    check(qt.QLineEdit(), str, "text", "abc", "abc")
    check(qt.QTextEdit(), str, "plainText", "abc", "abc")
    check(ctk.ctkPathLineEdit(), pathlib.Path, "currentPath", "/a", pathlib.Path("/a"))
    check(ctk.ctkDirectoryButton(), pathlib.Path, "directory", "/a", pathlib.Path("/a"))
    check(ctk.ctkRangeWidget(), Annotated[FloatRange, RangeBounds(-9, 9)], "maximumValue", 5, FloatRange(0, 5))


def test_the_widget_shows_what_the_parameter_becomes(node):
    import qt

    box = qt.QSpinBox()
    parameters = wrap(first=int, value=int)(node)
    tag = parameters.connectParametersToGui({"value": box})
    parameters.value = 7
    assert box.value == 7
    node.SetParameter("value", "11")
    assert box.value == 11
    parameters.disconnectGui(tag)
    parameters.value = 12
    assert box.value == 11


def test_node_selectors_get_the_types_of_the_parameter(node):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.setMRMLScene(slicer.mrmlScene)
    kinds = Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007
    parameters, _ = bind(node, selector, kinds)
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")
    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    selector.setCurrentNode(made)
    assert parameters.value is made


def test_widgets_that_do_not_fit(shell):
    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import FloatRange

    for widget, kind in (
        (ctk.ctkPathLineEdit(), str),
        (qt.QRadioButton(), bool),
        (ctk.ctkCheckBox(), bool),
        (qt.QSpinBox(), float),
        (qt.QLineEdit(), int),
        (qt.QPlainTextEdit(), str),
        (qt.QLabel(), str),
    ):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            bind(node, widget, kind)
    for widget, kind in ((ctk.ctkSliderWidget(), float), (qt.QSlider(), int), (ctk.ctkRangeWidget(), FloatRange)):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        with pytest.raises(RuntimeError, match="unbounded"):
            bind(node, widget, kind)
    with pytest.raises(RuntimeError, match="Choice"):
        bind(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"), qt.QComboBox(), str)


def test_a_name_in_the_ui_that_is_no_parameter(node):
    import qt

    parent = qt.QWidget()
    box = qt.QSpinBox(parent)
    box.setProperty("SlicerParameterName", "cuont")
    with pytest.raises(ValueError, match="cuont"):
        wrap(count=int)(node).connectGui(parent)
