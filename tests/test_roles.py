from pocketcxr import roles


def test_former_names_become_present_ones_everywhere_in_a_record():
    stored = {
        "student alone": {"auroc": 0.9, "less": ["sources.less_student_alone", None, True]},
        "text": "0.9 (student alone)",
        "folder": "student-alone/best.safetensors",
    }
    assert roles.canonical(stored) == {
        "baseline student": {"auroc": 0.9, "less": ["sources.less_baseline_student", None, True]},
        "text": "0.9 (baseline student)",
        "folder": "student-alone/best.safetensors",  # a path is what it is
    }
    assert roles.canonical("student alone") == roles.BASELINE


def test_present_names_stay():
    for name in (roles.TEACHER, roles.BASELINE, roles.DISTILLED, roles.EXPORTED, "my own network"):
        assert roles.canonical(name) == name
