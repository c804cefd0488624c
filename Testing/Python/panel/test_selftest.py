"""The module's own test, as Slicer's button Reload and Test runs it."""

import unittest


def test_selftest(panel, shell):
    from SpineSegLib.panel.selftest import PanelTest

    loaded = unittest.defaultTestLoader.loadTestsFromTestCase(PanelTest)
    result = unittest.TextTestRunner(verbosity=2).run(loaded)
    problems = [text for _, text in result.failures + result.errors]
    assert not problems, "\n".join(problems)
    assert result.testsRun >= 5
