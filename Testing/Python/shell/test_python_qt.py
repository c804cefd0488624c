"""PythonQt's habits: what works on Slicer's Python console works here, and what fails there fails here."""

import pytest


@pytest.fixture
def qt(session):
    import qt

    return qt


def test_a_property_is_an_attribute_and_no_method(qt):
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    button.text = "Cancel"
    button.enabled = False
    assert button.text == "Cancel"
    assert not button.isEnabled()
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    button.setText("again")
    assert button.text == "again"


@pytest.mark.parametrize(
    ("name", "value"), [("text", 5), ("text", None), ("enabled", "yes"), ("toolTip", ["a"]), ("iconSize", 3)]
)
def test_a_wrong_type_is_refused(qt, name, value):
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match=f"Property '{name}'.*does not accept"):
        setattr(button, name, value)


def test_numbers_are_converted_as_in_cpp(qt):
    box = qt.QSpinBox()
    box.value = 3.7
    assert box.value == 3
    slider = qt.QDoubleSpinBox()
    slider.value = 4
    assert slider.value == 4.0


def test_unknown_attributes_raise(qt):
    button = qt.QPushButton()
    with pytest.raises(AttributeError):
        button.caption  # noqa: B018
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        button.caption = "x"
    with pytest.raises(AttributeError, match="Slot 'setText' can not be overwritten"):
        button.setText = print
    with pytest.raises(AttributeError, match="not writable"):
        button.width = 4
    with pytest.raises(AttributeError):
        qt.QPushButtn  # noqa: B018


def test_a_class_that_python_derives_takes_new_attributes(qt):
    class Mine(qt.QWidget):
        pass

    mine = Mine()
    mine.anything = 4
    assert mine.anything == 4
    mine.windowTitle = "t"
    assert mine.windowTitle == "t"


def test_names_and_dynamic_properties(qt):
    widget = qt.QWidget()
    widget.name = "panel"
    assert widget.objectName == "panel"
    widget.setProperty("SlicerParameterName", "volume")
    assert widget.property("SlicerParameterName") == "volume"
    assert widget.property("nothing") is None
    assert widget.className() == "QWidget"


def test_enums_are_numbers(qt):
    assert qt.QMessageBox.Ok == 1024
    assert qt.Qt.AlignRight | qt.Qt.AlignVCenter == 130
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignBottom
    assert label.alignment == 0x42
    label.alignment = 0x84
    assert label.alignment == 0x84
    assert qt.QSizePolicy.Expanding == 7


def test_connect_by_string_and_by_signal(qt):
    button, calls = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked(bool)", calls.append)
    button.connect("clicked()", lambda: calls.append("nothing"))
    button.clicked.connect(lambda: calls.append("signal"))
    button.click()
    assert calls == [True, "nothing", "signal"]


def test_a_receiver_gets_as_many_arguments_as_it_takes(qt):
    button, calls = qt.QPushButton(), []
    button.connect("clicked(bool)", lambda: calls.append("none"))
    button.connect("toggled(bool)", lambda on, extra=1: calls.append((on, extra)))
    button.checkable = True
    button.click()
    assert sorted(calls, key=str) == [(True, 1), "none"]


def test_disconnect(qt):
    class Panel:
        def __init__(self):
            self.calls = 0

        def clicked(self):
            self.calls += 1

    button, panel = qt.QPushButton(), Panel()
    button.connect("clicked()", panel.clicked)
    button.click()
    assert button.disconnect("clicked()", panel.clicked)
    button.click()
    assert panel.calls == 1
    assert not button.disconnect("clicked()", panel.clicked)


def test_connect_to_a_slot_by_name(qt):
    button, line = qt.QPushButton(), qt.QLineEdit("text")
    button.connect("clicked()", line, "clear()")
    button.click()
    assert line.text == ""


@pytest.mark.parametrize("signal", ["clickd()", "clicked(int)", "clicked"])
def test_a_signal_that_does_not_exist(qt, signal):
    with pytest.raises(ValueError, match="does not exist on QPushButton"):
        qt.QPushButton().connect(signal, print)


def test_an_error_in_a_slot_is_kept(qt, shell):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    (error,) = shell.take_errors()
    assert isinstance(error, ZeroDivisionError)


def test_timers(qt, shell):
    calls, timer = [], qt.QTimer()
    timer.singleShot = True
    timer.interval = 5
    timer.connect("timeout()", lambda: calls.append("timer"))
    timer.start()
    qt.QTimer.singleShot(0, lambda: calls.append("shot"))
    shell.wait_until(lambda: len(calls) == 2, 5)
    assert not timer.active
    assert timer.singleShot is True


def test_settings_are_those_of_the_session(qt, session):
    import slicer

    settings = qt.QSettings()
    settings.setValue("SpineSeg/Model", "large")
    assert qt.QSettings().value("SpineSeg/Model") == "large"
    assert settings.fileName().startswith(slicer.app.slicerHome)


def test_every_property_of_every_class_can_be_read(qt):
    """Some getters are virtual in Qt, which looks for them in Python by the property's name."""
    from SlicerShell.python_qt import PropertyAttribute

    for name in ("QProgressBar", "QVBoxLayout", "QTableWidget", "QLabel", "QTextBrowser", "QComboBox", "QToolButton"):
        made = getattr(qt, name)()
        for prop in [each for each in dir(type(made)) if each[0] != "_"]:
            if any(isinstance(vars(cls).get(prop), PropertyAttribute) for cls in type(made).__mro__):
                getattr(made, prop)


def test_nested_layouts_are_not_measured_again_and_again(qt, shell):
    """Their size hints are virtual, too; a look-up at every level would double the work at every level."""
    import time

    outer = inner = qt.QWidget()
    for _ in range(30):
        layout = qt.QVBoxLayout(inner)
        inner = qt.QFrame()
        layout.addWidget(inner)
    outer.show()
    before = time.process_time()
    shell.process_events()
    assert time.process_time() - before < 2
    outer.hide()
