"""The app's sources: what a person sees can be read by everyone, and the parts agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mobile_demo import licences
from mobile_demo.android.tools import make_apk
from mobile_demo.android.tools.downloads import ANDROID_JAR, DX_JAR, FOLDER
from tests.support.paths import ROOT

ANDROID = "{http://schemas.android.com/apk/res/android}"
MAIN = make_apk.MAIN
LAYOUTS = sorted((MAIN / "res" / "layout").glob("*.xml"))
ON = [  # a colour of text, and what it is on
    *[("text", on) for on in ("window", "user", "answer", "field")],
    *[("text_quiet", on) for on in ("window", "field")],
    ("accent", "window"),
]


def colors(folder: str) -> dict[str, str]:
    root = ElementTree.parse(MAIN / "res" / folder / "colors.xml").getroot()
    return {item.attrib["name"]: item.text or "" for item in root}


def luminance(color: str) -> float:
    """As WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [(x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4) for x in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("folder", ["values", "values-night"])
@pytest.mark.parametrize(("text", "on"), ON)
def test_text_has_contrast(folder: str, text: str, on: str) -> None:
    found = colors(folder)
    light, dark = sorted((luminance(found[text]), luminance(found[on])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_dark_and_light_have_the_same_colours() -> None:
    assert set(colors("values")) == set(colors("values-night"))


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_a_layout_grows_with_the_text(path: Path) -> None:
    """Sizes of text are in sp, no text has a fixed height, pictures have a name for TalkBack."""
    for view in ElementTree.parse(path).iter():
        size = view.get(f"{ANDROID}textSize", "16sp")
        assert size.endswith("sp"), view.attrib
        if view.tag in ("TextView", "EditText", "Button"):
            height = view.attrib[f"{ANDROID}layout_height"]
            assert height in ("wrap_content", "match_parent"), view.attrib
        if view.tag in ("ImageButton", "ImageView", "ProgressBar"):
            assert view.get(f"{ANDROID}contentDescription"), view.attrib
        shown = [view.get(ANDROID + name, "@") for name in ("text", "hint", "contentDescription")]
        assert all(text.startswith("@") for text in shown), "a text outside strings.xml"


def test_every_screen_of_the_manifest_exists() -> None:
    manifest = ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
    named = {
        part.attrib[f"{ANDROID}name"]
        for tag in ("application", "activity")
        for part in manifest.iter(tag)
    }
    for name in named:
        assert (MAIN / "java" / f"{name.replace('.', '/')}.java").is_file(), name
    assert not list(manifest.iter("uses-permission"))


def test_every_setting_is_read() -> None:
    settings = ElementTree.parse(MAIN / "res" / "xml" / "settings.xml")
    shown = {view.get(f"{ANDROID}key") for view in settings.iter()} - {None}
    source = (MAIN / "java/org/bitnetonnx/chat/talk/Settings.java").read_text("utf-8")
    assert shown == set(re.findall(r'public static final String \w+ = "(\w+)"', source))


def test_the_app_has_no_lambda_and_no_network() -> None:
    for path in (MAIN / "java").rglob("*.java"):
        source = path.read_text("utf-8")
        assert "->" not in source, f"{path.name}: dx knows no lambdas"
        assert not re.search(r"java\.net|android\.net\.(?!Uri)|androidx", source), path.name


def test_licences_of_what_an_app_links(tmp_path: Path) -> None:
    """Also where no APK is made: an iPhone's app takes the same file, without zig's part."""
    path = tmp_path / "Licences.txt"
    command = [sys.executable, "-m", "mobile_demo.licences", str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    text = path.read_text("utf-8")
    assert (ROOT / "LICENSE").read_text("utf-8").strip() in text
    for name in ("Microsoft Corporation", "Eigen", "abseil", "protobuf", "flatbuffers"):
        assert name in text, name
    ziglang = pytest.importorskip("ziglang")
    whole = licences.text(Path(ziglang.__file__).parent)
    assert whole.startswith(text.rstrip())
    assert "LLVM Exceptions" in whole
    assert "Zig contributors" in whole


@pytest.mark.skipif(not shutil.which("aapt"), reason="no aapt")
@pytest.mark.skipif(not shutil.which("javac"), reason="no javac")
@pytest.mark.skipif(
    not all((FOLDER / file.name).is_file() for file in (ANDROID_JAR, DX_JAR)),
    reason="not downloaded: make apk",
)
def test_resources_and_classes_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_apk, "BUILD", tmp_path)
    files = make_apk.compiled()
    layouts = {f"res/layout/{path.name}" for path in LAYOUTS}
    assert {"AndroidManifest.xml", "resources.arsc", "classes.dex", *layouts} <= set(files)
