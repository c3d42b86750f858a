"""A search space is checked against the real fields before anything is trained: one line for each mistake."""

import logging
import re
from pathlib import Path

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.training.config import load_experiment
from pocketcxr.training.config.space import read_space, with_values

pytest.importorskip("optuna", reason="needs the extra search")


def space_of(tmp_path, text):
    (tmp_path / "space.toml").write_text(text)
    return read_space(tmp_path / "space.toml", load_experiment(None, []))


def test_ranges_and_choices_become_distributions(tmp_path):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    text = """
    "student.learning_rate" = { low = 1e-4, high = 3e-3, log = true }
    student.losses.kd = { low = 0.5, high = 2, step = 0.5 }
    views.augmentation.crop = { low = 0.5, high = 1 }
    [student]
    batch_size = [16, 32]
    epochs = { low = 5, high = 20, step = 5 }
    losses = [{ ce = 1.0 }, { ce = 0.5, kd = 1.0 }]
    unlabelled = [true, false]
    """.replace("student.losses.kd", '"student.losses.kd"')
    assert space_of(tmp_path, text) == {
        "student.learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
        "student.losses.kd": FloatDistribution(0.5, 2, step=0.5),
        "views.augmentation.crop": FloatDistribution(0.5, 1.0),
        "student.batch_size": CategoricalDistribution([16, 32]),
        "student.epochs": IntDistribution(5, 20, step=5),
        "student.losses": CategoricalDistribution(['{"ce": 1.0}', '{"ce": 0.5, "kd": 1.0}']),
        "student.unlabelled": CategoricalDistribution([True, False]),
    }


def test_values_of_a_trial_are_set_and_all_else_stays():
    base = load_experiment(None, ["student.epochs=7", "views.count=3"])
    values = {"student.losses": '{"ce": 1.0}', "student.losses.kd": 0.5, "views.augmentation.flip": 0.1}
    wanted = ["student.epochs=7", "views.count=3", "student.losses={ce=1.0, kd=0.5}", "views.augmentation.flip=0.1"]
    assert with_values(base, values) == load_experiment(None, wanted)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("student.epoch = [3]", r"unknown field 'student\.epoch'; did you mean epochs\?"),
        ("student.epochs = [3, 0]", r"student\.epochs: expected at least 1, found 0"),
        ("student.epochs = { low = 1.5, high = 3 }", r"student\.epochs: expected int, found 1\.5"),
        ("student.epochs = { low = 9, high = 3 }", r"student\.epochs: .*low"),
        (
            "student.epochs = { low = 1 }",
            r'student\.epochs: expected a list of choices or a range .*found \{"low": 1\}',
        ),
        (
            "student.epochs = { low = 1, high = 3, lag = true }",
            r"student\.epochs: expected a list of choices or a range",
        ),
        ("student.epochs = { from = 1 }", r"student\.epochs\.from: expected a list of choices or a range"),
        ("student.epochs.many = [1]", r"student\.epochs\.many: epochs is a value, not a table"),
        ("student.learning_rate = { low = 0.0, high = 1.0, log = true }", r"student\.learning_rate: expected above 0"),
        (
            "student.backbone = { low = 'a', high = 'b' }",
            r"student\.backbone: expected a list of choices, found the range",
        ),
        ("student.epochs = 3", r"student\.epochs: expected a list of choices or a range .*found 3"),
        ("student.epochs = []", r"student\.epochs: expected a list of choices or a range"),
        ("student.select_by = ['auroc']", r"student\.select_by cannot be searched: it is the measure"),
        ("data.seed = [1, 2]", r"data\.seed: expected a field of \[student\], \[teacher\], \[views\]"),
        ("data.fractions = [[0.7, 0.1, 0.2]]", r"data\.fractions: expected a field of"),
        ("evaluation.bootstrap = [1]", r"evaluation\.bootstrap: expected a field of"),
        ("", r"expected a field with a list of choices or a range"),
        ("student.epochs = [", r"cannot read search space"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(tmp_path, line, message):
    with pytest.raises(ConfigError, match=message) as caught:
        space_of(tmp_path, line)
    assert "space.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_have_a_line_each(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    text = "student.epoch = [1]\nstudent.dropout = { low = 0.1, high = 0.4 }\ndata.seed = [1]\nstudent.epochs = [0]\n"
    with pytest.raises(ConfigError, match=r"3 mistakes, named above; no trial was begun"):
        space_of(tmp_path, text)
    lines = [record.getMessage() for record in caplog.records]
    assert ["student.epoch'" in lines[0], "student.epochs:" in lines[1], "data.seed" in lines[2]] == [True] * 3
    assert len(lines) == 3


def test_the_spaces_of_the_guide_can_be_searched(tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "search-settings.md"
    blocks = re.findall(r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        assert len(space_of(tmp_path, block)) == len(block.splitlines())
