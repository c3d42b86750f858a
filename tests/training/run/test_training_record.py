"""Tables, figures and the machine's record."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from pocketcxr.errors import TrainingError
from pocketcxr.training.calibration_metrics import figures
from pocketcxr.training.environment import environment_record, tuned_environment
from pocketcxr.training.run.record import Table, draw_curves, open_run


def test_a_table_is_cut_back_to_where_a_run_goes_on(tmp_path):
    table = Table(tmp_path / "t.csv", until=0)
    for step in range(1, 6):
        table.append({"step": step, "loss": 1 / step})
    again = Table(tmp_path / "t.csv", until=3)
    assert again.column("step") == [1, 2, 3]
    again.append({"step": 4, "loss": 9.0})
    assert (tmp_path / "t.csv").read_text().splitlines() == ["step,loss", "1,1", "2,0.5", "3,0.3333333", "4,9"]


def test_a_row_that_a_kill_cut_short_is_dropped(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("step,loss\n1,0.5\n2,0.25\n3")
    assert Table(path, until=99).column("step") == [1, 2]


def test_a_new_column_is_taken_in(tmp_path):
    table = Table(tmp_path / "t.csv", until=0)
    table.append({"step": 1})
    table.append({"step": 2, "auroc": 0.5})
    assert (tmp_path / "t.csv").read_text().splitlines() == ["step,auroc", "1,", "2,0.5"]
    assert math.isnan(table.column("auroc")[0])


def test_curves_are_drawn_and_nothing_without_steps(tmp_path):
    draw_curves(tmp_path)
    assert not (tmp_path / "curves.png").exists()
    table = Table(tmp_path / "metrics.csv", until=0)
    for step in range(1, 4):
        table.append({"step": step, "loss": 1.0, "loss_ce": 0.5})
    draw_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot write"):
        open_run(tmp_path / "file" / "run", {})


def test_figures_worked_out_by_hand():
    # scores of class 1: 0.9, 0.4, 0.4, 0.1; truth 1, 1, 0, 0: pairs 1 + 1 + 0.5 + 1 of 4
    probabilities = torch.tensor([[0.1, 0.9], [0.6, 0.4], [0.6, 0.4], [0.9, 0.1]])
    found = figures(probabilities.log(), torch.tensor([1, 1, 0, 0]))
    assert found["auroc"] == pytest.approx(3.5 / 4)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["cross_entropy"] == pytest.approx(-math.log(0.9 * 0.4 * 0.6 * 0.9) / 4, rel=1e-6)


def test_auroc_is_the_mean_over_the_classes_present_and_undefined_for_one():
    logits = torch.eye(3)[[0, 1, 0, 1]]
    assert figures(logits, torch.tensor([0, 1, 0, 1]))["auroc"] == 1.0
    assert math.isnan(figures(logits, torch.tensor([0, 0, 0, 0]))["auroc"])


def test_the_environment_record_is_plain_json_with_what_a_reader_needs():
    record = json.loads(json.dumps(environment_record()))
    assert record["packages"]["torch"]
    assert record["threads"] == torch.get_num_threads()
    assert record["processor"]


@pytest.mark.skipif(not tuned_environment(), reason="no glibc here")
def test_the_process_starts_again_once_with_the_tuned_allocator():
    program = (
        "import os, sys\n"
        "print('start', flush=True)\n"
        "from pocketcxr.training.environment import reexec_with_tuned_allocator\n"
        "reexec_with_tuned_allocator()\n"
        "print(os.environ.get('MALLOC_MMAP_MAX_'), os.environ.get('MALLOC_TOP_PAD_'), sys.argv[1:])\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "POCKETCXR_TUNED"))}
    done = subprocess.run(
        [sys.executable, "-c", program, "an argument", "--x"],
        env={**plain, "MALLOC_TOP_PAD_": "1000000"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.splitlines() == ["start", "start", "0 1000000 ['an argument', '--x']"]
