"""Models by name: the shipped ones, the user's, and broken ones among them."""

from dataclasses import replace

import pytest
from small_models import model_info, random_weights, write_model
from SpineSegLib.engine.errors import ModelError, OutputError
from SpineSegLib.engine.models import model_catalogue
from SpineSegLib.engine.models.model_catalogue import (
    delete_model,
    export_model,
    find_models,
    lineage,
    make_current,
    rename_model,
    resolve_model,
    user_models_dir,
)
from SpineSegLib.engine.models.model_file import read_identity, read_info, save_weights
from SpineSegLib.engine.models.unet import Architecture

SMALL = Architecture(inputs=3, outputs=3, width=4, depth=2)


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


def test_a_file_that_changes_is_read_again(folders):
    path = folders[1] / "mine.weights.h5"
    write_model(path, inputs=1)
    assert [found.info.architecture.inputs for found in find_models()] == [1]
    path.unlink()
    write_model(path, inputs=5)
    assert [found.info.architecture.inputs for found in find_models()] == [5]
    path.write_bytes(b"no model")
    assert "not a SpineSeg model file" in find_models()[0].problem


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


@pytest.fixture
def family(folders):
    """The default model, two generations of its children, and a stranger."""
    shipped, own = folders
    info = model_info(SMALL, name="default")
    save_weights(random_weights(SMALL), info, shipped / "default.weights.h5")
    make_child(own / "better.weights.h5", shipped / "default.weights.h5", seed=2)
    make_child(own / "best.weights.h5", own / "better.weights.h5", seed=3)
    make_child(own / "other.weights.h5", shipped / "default.weights.h5", seed=4)
    info = model_info(SMALL, name="stranger", parent="gone 7", version=8)
    save_weights(random_weights(SMALL, 5), info, own / "stranger.weights.h5")
    return shipped, own


def make_child(path, parent, seed):
    before = read_info(parent)
    info = replace(before, name=path.name.split(".")[0], version=before.version + 1,
                   parent=f"{before.name} {before.version}")  # fmt: skip
    save_weights(random_weights(info.architecture, seed), info, path, training={"parent": read_identity(parent)})


def tree():
    return [(version.depth, version.model.name, version.parent, version.children) for version in lineage()]


def test_the_family_tree(family):
    assert tree() == [
        (0, "default", None, ("better", "other")),
        (1, "better", "default", ("best",)),
        (2, "best", "better", ()),
        (1, "other", "default", ()),
        (0, "stranger", "gone 7", ()),
    ]
    assert [version.model.name for version in lineage() if version.model.shipped] == ["default"]


def test_names_of_parents_do_not_matter_but_circles_are_not_believed(family):
    _, own = family
    rename_model("better", "my best friend")
    assert (1, "my best friend", "default", ("best",)) in tree()
    # A file that claims to be its own grandparent's parent is listed all the same.
    for one, other in (("a", "b"), ("b", "a")):
        info = model_info(SMALL, name=one, parent=f"{other} 1")
        save_weights(random_weights(SMALL, ord(one)), info, own / f"{one}.weights.h5")
    assert {"a", "b"} <= {name for _, name, *_ in tree()}


def test_the_current_model_is_used_where_none_is_named(family):
    shipped, own = family
    assert resolve_model(None) == shipped / "default.weights.h5"
    assert make_current("better") == own / "better.weights.h5"
    assert resolve_model(None) == own / "better.weights.h5"
    assert [version.model.name for version in lineage() if version.current] == ["better"]
    rename_model("better", "finest")
    assert resolve_model(None) == own / "finest.weights.h5"
    make_current(None)
    assert resolve_model(None) == shipped / "default.weights.h5"
    make_current("finest")
    (own / "finest.weights.h5").unlink()  # behind our back
    assert resolve_model(None) == shipped / "default.weights.h5"
    with pytest.raises(ModelError, match="no model nobody"):
        make_current("nobody")
    (own / "broken.weights.h5").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a SpineSeg model"):
        make_current("broken")
    (own / "current.json").write_text("{")
    assert resolve_model(None) == shipped / "default.weights.h5"


def test_deleting_asks_for_what_would_be_lost(family):
    shipped, own = family
    with pytest.raises(ModelError, match="default is not in your model folder and can't be deleted"):
        delete_model("default")
    with pytest.raises(ModelError, match=r"best came from better .*--even-parent"):
        delete_model("better")
    make_current("better")
    delete_model("better", even_parent=True)
    assert not (own / "better.weights.h5").exists()
    assert resolve_model(None) == shipped / "default.weights.h5"
    assert (0, "best", "better 2", ()) in tree()
    delete_model("best")
    assert not (own / "best.weights.h5").exists()


def test_renaming_and_exporting_never_overwrite(family, tmp_path):
    _, own = family
    with pytest.raises(OutputError, match="exists"):
        rename_model("better", "other")
    for name in ("../up", ".hidden", ""):
        with pytest.raises(ModelError, match="can't be a model's name"):
            rename_model("better", name)
    with pytest.raises(ModelError, match="can't be renamed"):
        rename_model("default", "mine")
    elsewhere = tmp_path / "best.weights.h5"
    elsewhere.write_bytes((own / "better.weights.h5").read_bytes())
    with pytest.raises(ModelError):
        rename_model(str(tmp_path / "best"), "mine")  # no name, but a path
    assert elsewhere.exists()
    target = tmp_path / "out"
    target.mkdir()
    assert export_model("better", target) == target / "better.weights.h5"
    assert (target / "better.weights.h5").read_bytes() == (own / "better.weights.h5").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        export_model("better", target)
    with pytest.raises(OutputError, match=r"must end in \.weights\.h5"):
        export_model("better", tmp_path / "model.bin")
