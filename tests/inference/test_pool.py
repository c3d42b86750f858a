"""Several processes give one answer per file in the files' order, and one that dies takes nothing else with it."""

from __future__ import annotations

import signal

import pytest
from PIL import Image

from pocketcxr.errors import BundleError
from pocketcxr.inference.batch import find_images, predict_paths
from pocketcxr.inference.processes.pool import PoolOptions, predict_in_processes


@pytest.fixture
def options(tiny_bundle_path, bundle):
    return PoolOptions(tiny_bundle_path, bundle.identity)


@pytest.fixture
def folder(save_picture, tmp_path):
    for number in range(12):
        save_picture(tmp_path / "films" / f"{number}.png", brightness=(0.2, 0.5, 0.8, 0.93)[number % 4])
    (tmp_path / "films" / "6.png").write_text("no picture")
    return tmp_path / "films"


@pytest.mark.parametrize("workers", [1, 3])
def test_answers_and_their_order_are_those_of_one_process(options, predictor, folder, workers):
    paths = list(find_images([folder, folder.parent / "absent.png"]))
    expected = [scored.prediction.record() for scored in predict_paths(predictor, paths)]
    found = [answer.record() for answer in predict_in_processes(paths, options, workers=workers)]
    assert found == expected
    assert [record["decision"] for record in found].count("error") == 2


def test_no_files_is_no_answers(options):
    assert list(predict_in_processes([], options, workers=2)) == []


def test_a_bundle_that_no_process_can_load_is_one_error(options, tmp_path, folder):
    bad = PoolOptions(tmp_path / "none.onnx", "none")
    with pytest.raises(BundleError, match=r"none\.onnx"):
        list(predict_in_processes(find_images([folder]), bad, workers=2))


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_reported_for_its_file_and_stops_no_other(options, folder, ended_by):
    slow = folder / "1.png"
    Image.new("RGB", (8000, 7900), (90, 90, 90)).save(slow, compress_level=1)  # takes long enough to be caught at
    paths = list(find_images([folder]))
    answers = predict_in_processes(paths, options, workers=1)
    found = [next(answers)]
    (worker,) = answers.gi_frame.f_locals["pool"]._workers
    worker.process.send_signal(ended_by)
    found += answers
    assert [answer.path for answer in found] == list(map(str, paths))
    died = found[1]
    assert (died.decision, died.probabilities, died.bundle) == ("error", {}, options.identity)
    assert [reason.code for reason in died.reasons] == ["process-ended"]
    assert signal.Signals(ended_by).name in died.reasons[0].words
    assert ("memory" in died.reasons[0].words) == (ended_by == signal.SIGKILL)
    assert [answer.decision for answer in found].count("error") == 2  # and the text file
    assert [answer.decision for answer in found[2:6]] == ["bright", "refused", "dark", "uncertain"]


def test_processes_end_when_their_answers_are_no_longer_wanted(options, folder):
    answers = predict_in_processes(find_images([folder]), options, workers=2)
    next(answers)
    workers = list(answers.gi_frame.f_locals["pool"]._workers)
    assert len(workers) == 2
    answers.close()
    assert [worker.process.poll() for worker in workers] == [0, 0]


def test_heatmap_that_cannot_be_written_stops_with_the_system_s_words(options, folder, tmp_path):
    (tmp_path / "maps").write_text("a file where the folder should be")
    drawing = PoolOptions(options.bundle, options.identity, heatmaps=tmp_path / "maps")
    with pytest.raises(OSError, match="exists"):
        list(predict_in_processes(find_images([folder]), drawing, workers=2))
