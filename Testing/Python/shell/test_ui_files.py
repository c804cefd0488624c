""".ui files: custom widgets, their properties and connections; a name that Slicer doesn't know raises."""

import pytest

HEAD = '<ui version="4.0"><class>T</class><widget class="qMRMLWidget" name="T"><layout class="QVBoxLayout" name="l">'
TAIL = "</layout></widget>{}</ui>"


@pytest.fixture
def load(shell, tmp_path):
    import slicer

    def load_text(items, connections=""):
        path = tmp_path / "t.ui"
        path.write_text(HEAD + f"<item>{items}</item>" + TAIL.format(connections))
        return slicer.util.loadUI(str(path))

    return load_text


def connection(sender, signal, receiver, slot):
    parts = f"<sender>{sender}</sender><signal>{signal}</signal><receiver>{receiver}</receiver><slot>{slot}</slot>"
    return f"<connections><connection>{parts}</connection></connections>"


def test_widgets_by_name_and_type(load):
    import ctk
    import slicer

    widget = load(
        '<widget class="ctkCollapsibleButton" name="advanced">'
        '<property name="text"><string>Advanced</string></property>'
        '<property name="collapsed"><bool>true</bool></property></widget>'
    )
    ui = slicer.util.childWidgetVariables(widget)
    assert type(ui.advanced) is ctk.ctkCollapsibleButton
    assert ui.advanced.text == "Advanced"
    assert ui.advanced.collapsed
    with pytest.raises(AttributeError):
        ui.advancd  # noqa: B018


def test_properties_that_qt_can_not_read_by_itself(load):
    import ctk

    widget = load(
        '<widget class="ctkPathLineEdit" name="path"><property name="filters">'
        "<set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property></widget>"
    )
    path = widget.findChild(ctk.ctkPathLineEdit, "path")
    assert path.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Writable


def test_the_scene_reaches_the_selectors(load):
    import slicer

    selector = '<widget class="qMRMLNodeComboBox" name="s"/>'
    widget = load(selector, connection("T", "mrmlSceneChanged(vtkMRMLScene*)", "s", "setMRMLScene(vtkMRMLScene*)"))
    chosen = widget.findChild(slicer.qMRMLNodeComboBox, "s")
    assert chosen.mrmlScene() is None
    widget.setMRMLScene(slicer.mrmlScene)
    assert chosen.mrmlScene() is slicer.mrmlScene


@pytest.mark.parametrize(
    ("items", "connections", "problem"),
    [
        ('<widget class="qMRMLNodeComBox" name="s"/>', "", "unknown class qMRMLNodeComBox"),
        (
            '<widget class="QPushButton" name="b"><property name="txt"><string>x</string></property></widget>',
            "",
            "QPushButton 'b' has no property 'txt'",
        ),
        ('<widget class="QLabel" name="a"/>', connection("T", "sceneChanged()", "a", "clear()"), "sceneChanged"),
        ('<widget class="QLabel" name="a"/>', connection("b", "clicked()", "a", "clear()"), "refers to 'b'"),
        (
            '<widget class="QLabel" name="a"/>',
            connection("T", "mrmlSceneChanged(vtkMRMLScene*)", "a", "setMRMLScene(vtkMRMLScene*)"),
            "can't be made",
        ),
        ("<widget", "", "no XML"),
    ],
)
def test_faulty_files(load, items, connections, problem):
    with pytest.raises(RuntimeError, match=problem):
        load(items, connections)


def test_a_file_that_is_not_there(shell):
    import slicer

    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI("/nowhere/T.ui")
