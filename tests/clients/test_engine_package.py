"""The page's engine as an npm package: what is in it, its types, and its ids in other projects."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bitnet_onnx
from bitnet_onnx.cli.main import main
from tests.support import clients
from tests.support.paths import DEMO, ROOT

WEB = ROOT / "mobile_demo" / "web"
ENGINE = WEB / "engine"
NAME = "bitnet-onnx-engine"
MANIFEST: dict[str, Any] = json.loads((ENGINE / "package.json").read_text("utf-8"))
STRICT = (
    *("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"),
    *("--target", "es2022", "--lib", "es2023,dom,dom.iterable,dom.asynciterable"),
    *("--types", "node"),
)
RESOLUTIONS = {
    "bundler": ("--module", "esnext", "--moduleResolution", "bundler"),
    "nodenext": ("--module", "nodenext"),
}
ASK = "model.generate([{ role: 'user', content: question }], { max_new_tokens: 32 })"
IN_NODE = f"""
const asked = JSON.parse(await readFile("questions.json", "utf8")) as string[];
const answered: number[][] = [];
for (const question of asked) {{
  const answer = {ASK};
  for await (const _ of answer);
  answered.push(answer.result.ids);
}}
console.log(JSON.stringify(answered));
"""
IN_A_PAGE = """
const asked = (await (await fetch("/questions.json")).json()) as string[];
const seen = [];
for (const threads of [1, 2]) {
  const facts = await engine.load("/model/", { threads });
  const ids = [];
  for (const content of asked) {
    ids.push((await engine.generate([{ role: "user", content }], { max_new_tokens: 32 })).ids);
  }
  seen.push({ threads: facts.threads, ids });
}
console.log(JSON.stringify(seen));
"""
BUILD = """
export default {
  build: {
    outDir: "site",
    target: "es2022",
    rolldownOptions: { input: "page.ts", output: { entryFileNames: "page.mjs" } },
  },
};
"""


def program(name: str) -> Path:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    if found is None or not (WEB / "node_modules").is_dir():
        pytest.skip("Node or the page's packages are missing: make web")
    return Path(found)


def tool(name: str, *arguments: str, cwd: Path, fails: bool = False) -> str:
    """Return what one of the page's development tools says."""
    command = [str(program("node")), str(WEB / "node_modules" / name), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert bool(done.returncode) == fails, said
    return said


def shown(kind: str) -> str:
    """Return the program that the package's README marks with ``<!-- test: kind -->``."""
    text = (ENGINE / "README.md").read_text("utf-8")
    _, _, after = text.partition(f"<!-- test: {kind} -->\n```ts\n")
    lines, found, _ = after.partition("```\n")
    assert found, kind
    return lines


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package beside this checkout, whose own build other tests use, and pack it."""
    npm, place = program("npm"), tmp_path_factory.mktemp("package")
    folder = place / "engine"
    shutil.copytree(ENGINE, folder, ignore=shutil.ignore_patterns("dist"))
    (place / "node_modules").symlink_to(WEB / "node_modules")
    for command in (["run", "--silent", "build"], ["pack", "--silent"]):
        done = subprocess.run(
            [npm, *command], cwd=folder, capture_output=True, text=True,
            env=os.environ | {"PATH": f"{npm.parent}{os.pathsep}{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    (packed,) = folder.glob("*.tgz")
    return packed


@pytest.fixture
def project(tarball: Path, tmp_path: Path) -> Path:
    """Make an empty project with the packed package and what it depends on, and nothing else."""
    packages = tmp_path / "node_modules"
    with tarfile.open(tarball) as archive:
        archive.extractall(packages, filter="data")
    (packages / "package").rename(packages / NAME)
    for name in (*MANIFEST["dependencies"], "@types/node"):
        (packages / name).parent.mkdir(exist_ok=True)
        (packages / name).symlink_to(WEB / "node_modules" / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


@pytest.fixture
def artifact_for_web(tmp_path: Path) -> Path:
    artifact = tmp_path / "made" / "for web"
    artifact.parent.mkdir()
    assert main(["export", str(DEMO), "-o", str(artifact), "--for", "web"]) == 0
    return artifact


def paths(value: Any) -> Iterator[str]:
    """Yield the paths of package.json's exports."""
    for inner in value.values() if isinstance(value, dict) else ():
        yield from paths(inner)
    if isinstance(value, str):
        yield value.removeprefix("./")


def test_its_folders_import_only_those_before() -> None:
    """In the order of the table in mobile_demo/README.md."""
    page = (ROOT / "mobile_demo" / "README.md").read_text("utf-8")
    order = re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)
    folders = [path.name for path in (ENGINE / "src").iterdir() if path.is_dir()]
    assert sorted(order) == sorted(folders)
    for place, folder in enumerate(order):
        for path in (ENGINE / "src" / folder).glob("*.ts"):
            found = set(re.findall(r'"\.\./(\w+)/', path.read_text("utf-8")))
            assert found <= set(order[:place]), path


def test_it_says_what_it_is() -> None:
    assert MANIFEST["version"] == bitnet_onnx.__version__
    assert (ENGINE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))["packages"]
    assert lock["engine"]["version"] == MANIFEST["version"]
    assert lock["engine"]["dependencies"] == MANIFEST["dependencies"]
    for name, version in MANIFEST["dependencies"].items():
        assert lock[f"node_modules/{name}"]["version"] == version, "not pinned"


def test_a_user_gets_the_built_files_and_their_types(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    sources = ENGINE / "src"
    built = {f"dist/{path.relative_to(sources).with_suffix('')}" for path in sources.rglob("*.ts")}
    expected = {f"{name}{suffix}" for name in built for suffix in (".js", ".d.ts")}
    assert names == expected | {"LICENSE", "README.md", "package.json"}
    assert set(paths(MANIFEST["exports"])) <= names
    assert MANIFEST["sideEffects"] == ["./dist/worker/worker.js"]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("kind", ["browser", "node"])
def test_its_types_hold_in_a_strict_project(project: Path, kind: str, resolution: str) -> None:
    (project / "ask.ts").write_text(shown(kind))
    options = (*STRICT, *RESOLUTIONS[resolution], "--noEmit", "ask.ts")
    tool("typescript/bin/tsc", *options, cwd=project)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("max_new_tokens", "maxNewTokens"),
        ('"/model/"', "7"),
        ("answer.ids", "answer.id"),
        ("temperature: 0.7", 'temperature: "0.7"'),
    ],
)
def test_a_wrong_use_is_an_error_of_types(project: Path, right: str, wrong: str) -> None:
    text = shown("browser").replace("const options = {", "const options: AnswerOptions = {")
    changed = text.replace(right, wrong)
    assert changed != text
    imported = f'import type {{ AnswerOptions }} from "{NAME}";\n'
    (project / "ask.ts").write_text(imported + changed)
    options = (*STRICT, *RESOLUTIONS["bundler"], "--noEmit", "ask.ts")
    assert "ask.ts(" in tool("typescript/bin/tsc", *options, cwd=project, fails=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stock_artifact", "split_artifact", "artifact_for_web"])
def test_the_ids_under_node(
    kind: str, request: pytest.FixtureRequest, project: Path, cases: clients.Cases
) -> None:
    artifact: Path = request.getfixturevalue(kind)
    if kind == "artifact_for_web":  # its head rounds
        cases = clients.ours(artifact)
    shutil.copytree(artifact, project / "model")
    (project / "questions.json").write_text(json.dumps([question for question, _ in cases]))
    (project / "ask.ts").write_text(shown("node") + IN_NODE)
    tool("typescript/bin/tsc", *STRICT, *RESOLUTIONS["nodenext"], "ask.ts", cwd=project)
    first, ids = clients.run(program("node"), "ask.js", cwd=project).splitlines()
    assert first.startswith("32 [")
    assert json.loads(ids) == [answer for _, answer in cases]


@pytest.mark.slow
def test_the_ids_in_a_page_that_vite_built(
    stock_artifact: Path, project: Path, cases: clients.Cases
) -> None:
    browser = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if browser is None:
        pytest.skip("Chromium is missing: apt-get install chromium (or set CHROMIUM)")
    (project / "page.ts").write_text(shown("browser").replace("0.7", "0") + IN_A_PAGE)
    (project / "vite.config.js").write_text(BUILD)
    tool("vite/bin/vite.js", "build", cwd=project)
    site = project / "site"
    shutil.copytree(stock_artifact, site / "model")
    (site / "questions.json").write_text(json.dumps([question for question, _ in cases]))
    script = ROOT / "tests" / "clients" / "browser.mjs"
    said = clients.run(program("node"), script, WEB, browser, cwd=site)
    expected = [answer for _, answer in cases]
    assert json.loads(said.splitlines()[-1]) == [
        {"threads": threads, "ids": expected} for threads in (1, 2)
    ]
