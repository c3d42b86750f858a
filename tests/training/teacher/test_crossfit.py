"""Cross-fitted teachers: no cached output of an image comes from a network that saw its patient."""

import dataclasses
import signal

import numpy as np
import pytest
import tiny_runs
import torch

from pocketcxr.errors import CheckpointError, ConfigError, DataError
from pocketcxr.models.checkpoints import load_network, save_network
from pocketcxr.models.networks import NetworkSpec, build_network
from pocketcxr.models.predict import as_predict
from pocketcxr.training.augmentation import AugmentedViews
from pocketcxr.training.auxiliary.targets import auxiliary_targets
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.crossfit import CrossFitted, train_cross_fitted, training_folds, without_fold
from pocketcxr.training.teacher.views import cache_views

K = tiny_runs.FOLDED.folds
KD = {"ce": 0.5, "kd": 1.0}


@pytest.fixture(scope="module")
def patients(dataset):
    return tiny_runs.with_patients(dataset)


@pytest.fixture(scope="module")
def crossed(patients, tmp_path_factory):
    return tiny_runs.train_tiny_folds(patients, tmp_path_factory.mktemp("folds"))


@pytest.fixture(scope="module")
def views(patients, crossed, tmp_path_factory):
    return tiny_runs.cache_tiny_views(patients, crossed, tmp_path_factory.mktemp("views"))


@pytest.fixture
def memorised(monkeypatch):
    """Replace training: network k answers 10^k for the first class, whatever it is shown; returns whom it saw."""
    seen = []

    def memorise(part, config, *, out, augmentation, progress):
        spec = NetworkSpec("backbone", (tiny_runs.BACKBONE,), part.task.labels, part.pixels.shape[-1])
        network = build_network(spec)
        with torch.no_grad():
            network.classifier.weight.zero_()
            network.classifier.bias.copy_(torch.tensor([10.0 ** len(seen), 0, 0]))
        shown = [part.rows[i] for i in training_positions(part)]
        seen.append({value for row in shown for value in (row.patient_id, row.duplicate_group, row.study_id) if value})
        save_network(out / "teacher.safetensors", network, spec, {})
        return out / "teacher.safetensors"

    monkeypatch.setattr("pocketcxr.training.teacher.crossfit.train_teacher", memorise)
    monkeypatch.setattr("pocketcxr.training.teacher.crossfit._save_mean", lambda *_, **__: None)
    return seen


def test_no_cached_output_comes_from_a_network_that_saw_the_images_patient(patients, memorised, tmp_path):
    rows = list(patients.rows)
    train = training_positions(patients)
    for one, other in ((train[0], train[7]), (train[1], train[9]), (train[7], train[20])):  # near duplicates, a chain
        group = rows[one].duplicate_group or f"d{one}"
        rows[one], rows[other] = (dataclasses.replace(rows[i], duplicate_group=group) for i in (one, other))
    data = dataclasses.replace(patients, rows=tuple(rows))
    crossed = tiny_runs.train_tiny_folds(data, tmp_path / "t")
    assert len(memorised) == K
    cached = tiny_runs.cache_tiny_views(data, crossed, tmp_path / "v")
    everybody = training_positions(data, unlabelled=True)
    answered = dict.fromkeys([*range(K), "mean"], 0)
    for view in range(tiny_runs.VIEWS.count):
        logits, embedding = cached.lookup(everybody, np.full(len(everybody), view))
        assert embedding is None
        for i, value in zip(everybody, logits[:, 0].tolist(), strict=True):
            by = [number for number in range(K) if value == pytest.approx(10.0**number)]
            if not by:
                assert value == pytest.approx(sum(10.0**number for number in range(K)) / K)
            answered[by[0] if by else "mean"] += 1
            for number in by or range(K):
                row = data.rows[i]
                assert not {row.patient_id, row.duplicate_group} & memorised[number], (i, number)
    known = {data.rows[i].patient_id for i in train}
    unseen = [i for i in everybody if data.rows[i].patient_id not in known]
    assert answered["mean"] == len(unseen) * tiny_runs.VIEWS.count > 0
    assert min(answered.values()) > 0


def test_every_patient_is_in_one_fold_and_every_fold_has_every_class(patients, crossed):
    folds: dict[str, set[int]] = {}
    for row, fold in zip(patients.rows, crossed.fold_of.tolist(), strict=True):
        assert (fold >= 0) <= (row.split == "train")
        if row.split == "train":
            folds.setdefault(row.patient_id, set()).add(fold)
    assert all(len(found) == 1 for found in folds.values())
    assert {found.pop() for found in folds.values()} == {-1, 0, 1, 2}
    for fold in range(K):
        inside = crossed.fold_of == fold
        assert set(patients.labels[inside & (patients.labels >= 0)]) == {0, 1, 2}
        part = without_fold(patients, crossed.fold_of, fold, name="x")
        assert not set(training_positions(part)) & set(np.flatnonzero(inside))
        assert len(training_positions(part)) == len(training_positions(patients)) - int(
            (inside & (patients.labels >= 0)).sum()
        )


def test_the_ensemble_gives_the_mean_of_the_logits(patients, crossed):
    images = patients.images(patients.positions("calibration"))
    mean = as_predict(load_network(crossed.mean)[0])(images)
    each = [as_predict(load_network(path)[0])(images).logits for path in crossed.teachers]
    assert np.allclose(mean.logits, np.mean(each, axis=0), atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 1e-3


def test_trained_again_it_is_returned_at_once_and_other_folds_are_refused(patients, crossed):
    before = {path: path.stat().st_mtime_ns for path in (*crossed.teachers, crossed.mean)}
    again = tiny_runs.train_tiny_folds(patients, crossed.mean.parent)
    assert again.sha256 == crossed.sha256
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(CheckpointError, match=r"configuration\.folds was 3, now 2"):
        tiny_runs.train_tiny_folds(patients, crossed.mean.parent, dataclasses.replace(tiny_runs.FOLDED, folds=2))


def test_folds_trained_one_by_one_are_those_of_one_run(patients, crossed, tmp_path):
    for fold in (2, 1):
        tiny_runs.train_tiny_fold(patients, fold, tmp_path)
        assert not (tmp_path / "teacher.safetensors").exists()
    assert not (tmp_path / "fold-3").exists()
    before = (tmp_path / "fold-2" / "teacher.safetensors").stat().st_mtime_ns
    whole = tiny_runs.train_tiny_folds(patients, tmp_path)
    assert (tmp_path / "fold-2" / "teacher.safetensors").stat().st_mtime_ns == before
    assert whole.sha256 == crossed.sha256
    assert whole.mean.read_bytes() == crossed.mean.read_bytes()


@pytest.mark.parametrize("fold", [0, 4])
def test_a_fold_that_is_not_there_is_refused(patients, tmp_path, fold):
    with pytest.raises(ConfigError, match=f"fold {fold}: expected a number from 1 to teacher.folds, which is 3"):
        tiny_runs.train_tiny_fold(patients, fold, tmp_path)


def test_killed_in_the_second_fold_it_ends_with_the_same_weights(processes, crossed, patients, tmp_path):
    table = tmp_path / "fold-2" / f"backbone-1-{tiny_runs.BACKBONE}" / "metrics.csv"
    code = tiny_runs.start_and_kill(
        processes, tiny_runs.run_folds, (str(tmp_path),), reached=lambda: table.exists() and table.stat().st_size > 0
    )
    assert code == -signal.SIGKILL
    assert not (tmp_path / "teacher.safetensors").exists()
    first = (tmp_path / "fold-1" / "teacher.safetensors").stat().st_mtime_ns
    again = tiny_runs.train_tiny_folds(patients, tmp_path)
    assert again.teachers[0].stat().st_mtime_ns == first
    ours, theirs = (load_network(one.mean)[0].state_dict() for one in (again, crossed))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("what", ["first teacher", "last teacher", "order", "fold of one image", "number of folds"])
def test_another_teacher_or_other_folds_are_another_cache(patients, crossed, views, tmp_path, what):
    teachers, folds = list(crossed.teachers), crossed.fold_of.copy()
    if "teacher" in what:
        number = 0 if what == "first teacher" else -1
        network, spec, about = load_network(teachers[number])
        teachers[number] = tmp_path / "other.safetensors"
        save_network(teachers[number], network, spec, {**about, "other": True})
    elif what == "order":
        teachers.reverse()
    elif what == "fold of one image":
        image = np.flatnonzero(folds >= 0)[0]
        folds[image] = (folds[image] + 1) % K
    else:
        teachers.pop()
        folds %= 2
    other = cache_views(
        patients, CrossFitted(tuple(teachers), folds, crossed.mean), tiny_runs.VIEWS, out=views.store.folder.parent,
        progress=False,
    )  # fmt: skip
    assert other.store.folder != views.store.folder


def test_a_student_learns_from_the_predictions_and_embeddings_are_refused(patients, views, tmp_path):
    config = dataclasses.replace(tiny_runs.STUDENT, losses=KD, epochs=1)
    path = tiny_runs.train_tiny_student(patients, tmp_path / "a", config, views=views)
    assert load_network(path)[2]["teacher"]["sha256"] == views.teacher_sha256
    for name in ("embedding", "similarity", "contrastive"):
        wrong = dataclasses.replace(config, losses={**KD, name: 1.0})
        with pytest.raises(
            ConfigError, match=f"'{name}' cannot be used with teacher.folds or teacher.outputs, nor with a teacher that"
        ):
            tiny_runs.train_tiny_student(patients, tmp_path / "b", wrong, views=views)
    assert not (tmp_path / "b").exists()


def test_fewer_patients_of_a_class_than_folds_are_refused(patients, tmp_path):
    config = dataclasses.replace(tiny_runs.FOLDED, folds=40)
    with pytest.raises(DataError, match="at least 40 separate patients for 40 teacher folds"):
        train_cross_fitted(patients, config, out=tmp_path, augmentation=tiny_runs.VIEWS.augmentation, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folds", [1, -1])
def test_one_fold_is_refused(folds):
    with pytest.raises(ConfigError, match="folds: expected 0, or at least 2"):
        dataclasses.replace(tiny_runs.FOLDED, folds=folds)
    with pytest.raises(ConfigError, match="folds: expected 0 where checkpoint names a teacher"):
        dataclasses.replace(tiny_runs.FOLDED, checkpoint="x.safetensors")


def test_auxiliary_images_have_folds_and_no_teacher_is_shown_a_patient_of_its_own_fold(patients, tmp_path):
    told = tiny_runs.with_findings(patients)
    shown: dict[str, set[int]] = {}
    make = AugmentedViews.with_boxes

    def watched(views, positions, *rest):
        shown.setdefault(views.dataset.fingerprint, set()).update(positions.tolist())
        return make(views, positions, *rest)

    config = dataclasses.replace(tiny_runs.FOLDED, auxiliary=tiny_runs.AUXILIARY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AugmentedViews, "with_boxes", watched)
        crossed = tiny_runs.train_tiny_folds(told, tmp_path, config)
    also = auxiliary_targets(told, tiny_runs.AUXILIARY).positions
    lonely = [i for i in also if told.rows[i].patient_id.startswith("a:100")]
    assert lonely, "a patient of auxiliary images only"
    assert (crossed.fold_of[training_positions(told, also=also)] >= 0).all()
    by_patient: dict[str, set[int]] = {}
    for row, fold in zip(told.rows, crossed.fold_of.tolist(), strict=True):
        if row.split == "train":
            by_patient.setdefault(row.patient_id, set()).add(fold)
    assert all(len(folds) == 1 for folds in by_patient.values())
    assert len(shown) == K
    for fold in range(K):
        (seen,) = (found for name, found in shown.items() if f"without fold {fold + 1} of {K}" in name)
        assert not {told.rows[i].patient_id for i in seen} & {
            told.rows[i].patient_id for i in np.flatnonzero(crossed.fold_of == fold)
        }
        assert set(also.tolist()) & seen


def test_without_auxiliary_outputs_folds_are_those_of_earlier_versions(patients, crossed):
    told = tiny_runs.with_findings(patients)
    assert (training_folds(told, tiny_runs.FOLDED) == crossed.fold_of).all()
    with_them = training_folds(told, dataclasses.replace(tiny_runs.FOLDED, auxiliary={"boxes": 1.0}))
    assert (with_them >= 0).sum() > (crossed.fold_of >= 0).sum()
