"""The Swift package, built and run on Linux or a Mac; the screens are read and no more.

A Swift in PATH is taken, or Debian's in the folder that BITNET_ONNX_SWIFT_ROOT names
(tests/swift_root.sh).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from bitnet_onnx.runtime.session import Session
from tests.support.artifacts import with_json
from tests.support.native.edge import onnxruntime_library
from tests.support.native.stop_strings import CASES, QUESTION, Answer, asking, expected
from tests.support.paths import ROOT
from tests.support.questions import LIMIT, answers, compared, questions

ALL = os.environ.get("BITNET_ONNX_ALL_QUESTIONS")  # set: all 1,200
CHROOT = os.environ.get("BITNET_ONNX_SWIFT_ROOT")
# Debian's Swift 6.0 lacks a symbol in the library of Observation, which only the tests link.
LINKED = ["-Xlinker", "--allow-shlib-undefined"] if os.uname().sysname == "Linux" else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROOT or shutil.which("swift")),
        reason="no Swift: neither in PATH nor in BITNET_ONNX_SWIFT_ROOT",
    ),
]


class Place(NamedTuple):
    """A copy of the sources with an exported model, in Swift's system."""

    root: Path
    """That system's, as this one sees it."""
    folder: Path

    def path(self, path: Path) -> str:
        """Return the path in Swift's system."""
        return str(Path("/") / path.relative_to(self.root))

    def run(
        self, call: Sequence[str | Path], stdin: str = "", /, **environment: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there; paths are given as this system has them."""
        words = [self.path(word) if isinstance(word, Path) else word for word in call]
        said = [
            f"{name}={self.path(value) if isinstance(value, Path) else value}"
            for name, value in environment.items()
        ]
        # Swift finds its libraries through /proc; the mount ends with the process.
        mounted = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        enter = ["unshare", "--mount", "sh", "-c", mounted, str(self.root)] if CHROOT else []
        package = self.path(self.folder / "mobile_demo" / "ios")
        line = ["env", *said, "sh", "-c", 'cd "$0" && exec "$@"', package, *words]
        return subprocess.run(
            [*enter, *line], input=stdin, capture_output=True, encoding="utf-8",
            errors="surrogateescape",
        )  # fmt: skip

    def swift(self, *arguments: str, **environment: str | Path) -> str:
        build = self.folder / "build"
        command: list[str | Path] = [
            "swift",
            arguments[0],
            "-c",
            "release",
            "--scratch-path",
            build,
            *arguments[1:],
        ]
        done = self.run(command, "", **environment)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-6000:]
        return said

    @property
    def client(self) -> Path:
        return self.folder / "build" / "release" / "bitnet-edge-swift"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def onnxruntime(self) -> Path:
        return self.folder / "libonnxruntime.so"


@pytest.fixture(scope="module")
def place(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = Path(CHROOT or "/").resolve()
    folder = root / "tmp" / "bitnet-swift" if CHROOT else tmp_path_factory.mktemp("swift")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("custom_ops", "mobile_demo/engine", "mobile_demo/ios"):
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns(".build")
        )
    shutil.copytree(demo_artifact, folder / "model")
    chat = json.loads((demo_artifact / "chat.json").read_text("utf-8"))
    chat["conversation"]["system"] = None
    chat["conversation"]["user"]["refused"] = ["Ben"]
    links = tmp_path_factory.mktemp("narrow") / "links"
    shutil.copytree(with_json(demo_artifact, links, "chat.json", chat), folder / "narrow")
    shutil.copyfile(onnxruntime_library(), folder / "libonnxruntime.so")
    yield Place(root, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def built(place: Place) -> Place:
    place.swift("build")
    return place


def test_the_client_gives_the_ids_of_python(built: Place) -> None:
    records = questions() if ALL else compared()
    asked = "".join(f"{record['question']}\n" for record in records)
    done = built.run(
        [built.client, built.model, "--json", "--max-new-tokens", str(LIMIT),
         "--onnxruntime", built.onnxruntime],
        asked,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    with Session(built.model) as session:
        assert [answer["ids"] for answer in found] == answers(session, built.model, records)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the artifact is missing"),
        (["nowhere"], "nowhere"),
        (["{model}", "a", "b"], "'b' comes after a question"),
        (["{model}", "--seed"], "--seed has no value"),
        (["{model}", "--top-k", "many"], "--top-k is 'many', expected an integer"),
        (["{model}", "--quick"], "--quick"),
        (["{model}", "Hi", "--top-p", "7"], "top_p"),
        (["{model}", "Hi", "--onnxruntime", "/nowhere.so"], "/nowhere.so"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(
    built: Place, arguments: list[str], sentence: str
) -> None:
    words = [built.path(built.model) if word == "{model}" else word for word in arguments]
    if "--onnxruntime" not in words:
        words += ["--onnxruntime", built.path(built.onnxruntime)]
    done = built.run([built.client, *words])
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def asked(built: Place, *words: str | Path, stdin: bytes = b"") -> tuple[int, list[str], str]:
    """Return the client's exit code, the texts of its answers and what it says."""
    onnxruntime = ("--onnxruntime", built.onnxruntime)
    model = next((word for word in words if isinstance(word, Path)), built.model)
    others = [word for word in words if word is not model]
    # As bytes cross: a text would be refused here already.
    call: list[str | Path] = [built.client, model, "--json", "--max-new-tokens", "2"]
    call += [*others, *onnxruntime]
    done = built.run(call, stdin.decode("utf-8", "surrogateescape"))
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    return done.returncode, texts, done.stderr


@pytest.mark.parametrize(
    "text",
    ["one\ntwo\n", "one\r\ntwo\r\n", "one\rtwo", "\ufeffone\ntwo", "\n  \none\n\n\t\ntwo\n\n",
     "\r\n\r\none\r\n\r\ntwo\r"],
)  # fmt: skip
def test_lines_of_stdin_are_those_of_the_program_for_boards(built: Place, text: str) -> None:
    each = [asked(built, word)[1][0] for word in ("one", "two")]
    assert asked(built, stdin=text.encode()) == (0, each, "")


@pytest.mark.parametrize(
    ("words", "stdin", "sentence"),
    [
        ([], b"caf\xe9", "line 1 of stdin holds the byte 0xe9 at offset 3, expected UTF-8 text"),
        ([], b"\xff\n", "line 1 of stdin holds the byte 0xff at offset 0, expected UTF-8 text"),
        ([], b"\n\xed\xa0\x80", "line 2 of stdin holds the byte 0xed at offset 0"),
        ([], b"\n\n\xe2\x82", "line 3 of stdin holds the byte 0xe2 at offset 0"),
        (["caf\udce9"], b"", "holds the byte 0xe9 at offset 3, expected UTF-8 text"),
        (["Hi", "--system", "\udcff"], b"", "holds the byte 0xff at offset 0"),
        ([" \n "], b"", "the prompt is empty, expected some text"),
        ([""], b"", "the prompt is empty, expected some text"),
    ],
)
def test_what_is_no_text_is_refused(
    built: Place, words: list[str], stdin: bytes, sentence: str
) -> None:
    code, texts, talk = asked(built, *words, stdin=stdin)
    assert (code, texts) == (2, []), talk
    assert sentence in talk
    assert talk.count("\n") == 1


@pytest.mark.parametrize("case", CASES)
def test_an_artifact_s_stop_strings_hold(
    built: Place, case: str, demo_artifact: Path, tmp_path: Path
) -> None:
    artifact = built.folder / "stops"
    shutil.rmtree(artifact, ignore_errors=True)
    shutil.copytree(asking(demo_artifact, tmp_path / "links", CASES[case]), artifact)
    options = ("--json", "--onnxruntime", built.onnxruntime)
    call: list[str | Path] = [built.client, artifact, QUESTION, *options]
    record = json.loads(built.run(call).stdout)
    finish = {"stopString": "stop_string"}.get(record["finish"], record["finish"])
    assert Answer(finish, record["text"]) == expected(artifact)


def test_the_tests_of_the_package(built: Place) -> None:
    said = built.swift(
        "test", *LINKED,
        BITNET_EDGE_MODEL=built.model, BITNET_EDGE_ONNXRUNTIME=built.onnxruntime,
        BITNET_EDGE_NARROW_MODEL=built.folder / "narrow",
    )  # fmt: skip
    assert "skipped" not in said


def test_the_screens_are_swift(place: Place) -> None:
    done = place.run(["swiftc", "-frontend", "-parse", *screens(place)])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", ["5", "6"])
def test_the_screens_agree_with_the_package(built: Place, version: str) -> None:
    """By the types of BitnetChat, and a stand-in for those of SwiftUI."""
    stand_ins = built.folder / "swiftui"
    made = built.folder / "stand-ins"
    shutil.copytree(ROOT / "tests" / "support" / "swiftui", stand_ins, dirs_exist_ok=True)
    made.mkdir(exist_ok=True)
    parts = {path.stem: [path] for path in sorted(stand_ins.glob("others/*.swift"))}
    parts["SwiftUI"] = sorted(stand_ins.glob("*.swift"))
    for module, files in parts.items():
        done = built.run(
            ["swiftc", "-parse-as-library", "-emit-module", "-module-name", module, "-I", made,
             "-o", made / f"{module}.swiftmodule", *files]
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    products = built.folder / "build" / "release"
    engine = built.path(products / "BitnetEngine.build" / "module.modulemap")
    call: list[str | Path] = ["swiftc", "-typecheck", "-parse-as-library"]
    call += ["-swift-version", version, "-I", made, "-I", products / "Modules"]
    call += ["-Xcc", f"-fmodule-map-file={engine}"]
    done = built.run([*call, *screens(built)])
    assert done.returncode == 0, done.stderr
    # What the screens say of the package is seen: a name that it has not is refused.
    (wrong,) = [path for path in screens(built) if path.name == "Composer.swift"]
    text = wrong.read_text("utf-8")
    wrong.write_text(text.replace("model.canSend", "model.canSing"), "utf-8")
    assert "canSing" in built.run([*call, *screens(built)]).stderr
    wrong.write_text(text, "utf-8")


def screens(place: Place) -> list[Path]:
    found = sorted((place.folder / "mobile_demo" / "ios" / "App").rglob("*.swift"))
    assert len(found) > 5
    return found
