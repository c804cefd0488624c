"""Models by name: the shipped ones, the user's, and broken ones among them."""

import pytest
from small_models import write_model
from SpineSegLib.engine import model_catalogue
from SpineSegLib.engine.errors import ModelError
from SpineSegLib.engine.model_catalogue import find_models, resolve_model, user_models_dir


@pytest.fixture
def folders(tmp_path, monkeypatch):
    shipped, own = tmp_path / "Resources" / "Models", tmp_path / "own"
    shipped.mkdir(parents=True)
    own.mkdir()
    monkeypatch.setattr(model_catalogue, "resources_dir", lambda: tmp_path / "Resources")
    monkeypatch.setenv("SPINESEG_MODELS", str(own))
    return shipped, own


def test_models_are_found_by_name_and_by_path(folders, tmp_path):
    shipped, own = folders
    write_model(shipped / "default.weights.h5")
    write_model(own / "mine.weights.h5", inputs=1)
    write_model(tmp_path / "elsewhere.h5")
    assert [(found.name, found.problem) for found in find_models()] == [("mine", None), ("default", None)]
    assert find_models()[0].info.architecture.inputs == 1
    assert resolve_model() == shipped / "default.weights.h5"
    assert resolve_model("mine") == own / "mine.weights.h5"
    assert resolve_model(tmp_path / "elsewhere.h5") == tmp_path / "elsewhere.h5"


def test_the_users_model_comes_before_the_shipped_one_of_that_name(folders):
    shipped, own = folders
    write_model(shipped / "default.weights.h5")
    write_model(own / "default.weights.h5")
    assert resolve_model("default") == own / "default.weights.h5"


def test_an_unknown_name_is_answered_with_the_known_ones(folders):
    write_model(folders[0] / "default.weights.h5")
    write_model(folders[1] / "mine.weights.h5")
    with pytest.raises(ModelError, match=r"no model other.*: mine, default\.$"):
        resolve_model("other")


def test_a_broken_file_is_listed_with_its_problem(folders):
    write_model(folders[0] / "default.weights.h5")
    (folders[1] / "broken.weights.h5").write_bytes(b"no model")
    broken, default = find_models()
    assert (broken.name, broken.info) == ("broken", None)
    assert "not a SpineSeg model file" in broken.problem
    assert default.problem is None


def test_without_the_users_folder_there_are_only_shipped_models(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path / "nowhere"))
    write_model(folders[0] / "default.weights.h5")
    assert [found.name for found in find_models()] == ["default"]
    with pytest.raises(ModelError, match="no model x"):
        resolve_model("x")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/spineseg/models"),
        ("linux", {}, "/home/someone/.local/share/spineseg/models"),
        ("darwin", {}, "/home/someone/Library/Application Support/spineseg/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/spineseg/models"),
    ],
)
def test_the_users_folder_is_the_platforms(monkeypatch, platform, variables, expected):
    for name in ("SPINESEG_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/someone", "USERPROFILE": "/home/someone"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(model_catalogue.sys, "platform", platform)
    assert user_models_dir().as_posix() == expected
