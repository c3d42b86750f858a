"""Paths of a run: present names for new runs, former names for the runs that have them."""

from pocketcxr.run_folder import FORMER_FOLDERS, RunFolder, checkpoint, student_sha256


def test_a_new_run_has_the_present_names(tmp_path):
    run = RunFolder(tmp_path)
    assert run.student_baseline == tmp_path / "student-baseline"
    assert run.input_filter == tmp_path / "input-filter" / "input-filter.safetensors"
    assert run.left_out_record == tmp_path / "leave-one-source-out" / "students.json"


def test_a_run_of_an_earlier_version_keeps_its_folders(tmp_path):
    for former in FORMER_FOLDERS.values():
        (tmp_path / former.partition("/")[0]).mkdir()
    run = RunFolder(tmp_path)
    assert run.student_baseline == tmp_path / "student-alone"
    assert run.input_filter == tmp_path / "gate" / "gate.safetensors"
    assert run.left_out_record == tmp_path / "without" / "without.json"


def test_where_both_exist_the_present_one_counts(tmp_path):
    for name in ("student-alone", "student-baseline"):
        (tmp_path / name).mkdir()
    assert RunFolder(tmp_path).student_baseline == tmp_path / "student-baseline"


def test_a_checkpoint_is_the_teachers_file_or_the_best_epoch_and_the_students_hash_is_of_its_file(tmp_path):
    run = RunFolder(tmp_path)
    assert student_sha256(run) == ""
    for place, name in ((run.teacher, "teacher.safetensors"), (run.student_distilled, "best.safetensors")):
        place.mkdir()
        (place / "best.safetensors").write_bytes(b"weights")
        (place / name).write_bytes(b"weights")
        assert checkpoint(place) == place / name
    assert len(student_sha256(run)) == 64
