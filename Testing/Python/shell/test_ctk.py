"""CTK's widgets: their properties, slots and signals."""

import pytest


@pytest.fixture
def ctk(session):
    import ctk

    return ctk


def test_collapsible_button(ctk, shell):
    import qt

    button, inner, hidden = ctk.ctkCollapsibleButton(), qt.QLabel("inner"), qt.QLabel("hidden")
    layout = qt.QVBoxLayout(button)
    layout.addWidget(inner)
    layout.addWidget(hidden)
    hidden.hide()
    folded = []
    button.connect("contentsCollapsed(bool)", folded.append)
    button.text = "Advanced"
    button.show()
    button.collapsed = True
    assert not inner.visible
    button.collapsed = False
    assert inner.visible
    assert not hidden.visible
    assert folded == [True, False]
    with pytest.raises(AttributeError):
        button.collapsed = "yes"
    button.hide()


def test_range_widget(ctk):
    widget, values, lows = ctk.ctkRangeWidget(), [], []
    widget.connect("valuesChanged(double,double)", lambda low, high: values.append((low, high)))
    widget.connect("minimumValueChanged(double)", lows.append)
    widget.minimum = -100
    widget.maximum = 100
    widget.setValues(-20, 30)
    widget.maximumValue = 300
    widget.minimumValue = 50
    assert values == [(-20, 30), (-20, 100), (50, 100)]
    assert lows == [-20, 50]
    widget.setValues(50, 100)
    assert len(values) == 3
    with pytest.raises(AttributeError):
        widget.values  # noqa: B018
    with pytest.raises(AttributeError):
        widget.minimumValue = "low"


def test_slider_widget(ctk):
    widget, values = ctk.ctkSliderWidget(), []
    widget.valueChanged.connect(values.append)
    widget.minimum, widget.maximum, widget.decimals = -10, 10, 1
    widget.value = 3.14
    assert widget.value == pytest.approx(3.1)
    widget.value = 99
    assert values == pytest.approx([3.1, 10])


def test_path_line(ctk, shell, tmp_path):
    line, paths, valid = ctk.ctkPathLineEdit(), [], []
    line.connect("currentPathChanged(QString)", paths.append)
    line.connect("validInputChanged(bool)", valid.append)
    line.filters = ctk.ctkPathLineEdit.Dirs
    line.currentPath = "/nowhere/at/all"
    line.currentPath = str(tmp_path)
    assert paths == ["/nowhere/at/all", str(tmp_path)]
    assert valid == [True]
    shell.dialogs.answer("/chosen")
    line.browse()
    assert line.currentPath == "/chosen"
    with pytest.raises(AttributeError):
        line.currentPath = tmp_path


def test_checkable_combo_box(ctk):
    box = ctk.ctkCheckableComboBox()
    box.addItems(["a", "b"])
    box.setCheckState(box.model().index(1, 0), 2)
    assert [each.row() for each in box.checkedIndexes()] == [1]


def test_there_is_no_more_than_ctk_has(ctk):
    with pytest.raises(AttributeError):
        ctk.ctkSpinBox  # noqa: B018
