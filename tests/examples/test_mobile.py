"""The Kotlin and Swift examples: their own tests, where a compiler is, and what they share with Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pocketcxr.imaging import input_checks

EXAMPLES = Path(__file__).parents[2] / "examples"
JARS = Path("/usr/share/java")
NEEDED_JARS = {
    "junit4.jar": "junit4",
    "hamcrest-core.jar": "libhamcrest-java",
    "com.android.json.jar": "libandroid-json-java",
}
SOURCES = {
    "cpp/pocketcxr.cpp": "C++",
    "android/app/src/main/kotlin/Preprocessing.kt": "Kotlin",
    "ios/Sources/PocketCXR/Preprocessing.swift": "Swift",
}


@pytest.mark.slow
def test_the_kotlin_tests_pass(tmp_path):
    compiler = shutil.which(os.environ.get("POCKETCXR_KOTLINC", "kotlinc"))
    absent = [] if compiler else ["kotlinc (npm install kotlin-compiler; POCKETCXR_KOTLINC names it)"]
    absent += [package for jar, package in NEEDED_JARS.items() if not (JARS / jar).is_file()]
    if absent or not shutil.which("java"):
        pytest.skip(f"needs Java and: {', '.join(absent)}")
    source = EXAMPLES / "android" / "app" / "src"
    classes = ":".join(str(JARS / jar) for jar in NEEDED_JARS)
    compiled = subprocess.run(
        [compiler, "-Werror", "-cp", classes, "-d", tmp_path / "example.jar", "-include-runtime",
         source / "main/kotlin/Preprocessing.kt", source / "main/kotlin/Decision.kt",
         source / "sharedTest/kotlin", source / "test/kotlin"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr[-3000:]
    done = subprocess.run(
        ["java", "-Djava.awt.headless=true", f"-Dreference={EXAMPLES / 'reference'}", "-cp",
         f"{tmp_path / 'example.jar'}:{classes}",
         "org.junit.runner.JUnitCore", "org.pocketcxr.example.PreprocessingTest"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.search(r"^OK \(\d tests\)$", done.stdout, flags=re.MULTILINE), done.stdout[-3000:]


@pytest.mark.slow
def test_the_swift_tests_pass(tmp_path):
    swift = shutil.which("swift")
    if swift is None:
        pytest.skip("needs Swift: apt-get install swiftlang (Debian 13 and later)")
    words = [swift, "test", "--package-path", EXAMPLES / "ios", "--scratch-path", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"Executed [1-9]\d* tests, with 0 failures", done.stdout + done.stderr)


@pytest.mark.parametrize("name", SOURCES)
def test_limits_of_the_input_checks_are_those_of_python(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for number in (
        input_checks.MIN_SIDE, input_checks.MAX_ASPECT, input_checks.MIN_CONTRAST, input_checks.BLANK_CONTRAST,
        input_checks.MIN_DEEP_RANGE, input_checks._SAMPLED_PIXELS,
    ):  # fmt: skip
        assert re.search(rf"(?<![\w.]){re.escape(str(number))}(\.0)?[fF]?(?!\w|\.\d)", text), f"{name}: {number}"


@pytest.mark.parametrize("name", ["android/app/src/main/res/values/strings.xml", "ios/App/PocketCXRApp.swift"])
def test_both_apps_say_that_they_are_for_research_only(name):
    assert "Research use only. Not a medical device." in (EXAMPLES / name).read_text(encoding="utf-8")


def test_the_android_app_has_no_permission_and_so_no_network():
    text = (EXAMPLES / "android/app/src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    assert "uses-permission" not in text
