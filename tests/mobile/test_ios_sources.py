"""The Swift package, without Swift: what it lists, and that its C++ compiles for Apple."""

from __future__ import annotations

import os
import plistlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import bitnet_onnx
from mobile_demo.ios import make_sources
from tests.support.paths import ROOT

IOS = ROOT / "mobile_demo" / "ios"
OPERATORS = IOS / "Sources" / "BitnetOperators"
ENGINE = IOS / "Sources" / "BitnetEngine"
WRITE = "run: python mobile_demo/ios/make_sources.py"
# Operators depend on the CPU. Of the engine, the second target compiles the files that ask the
# system: the others are the same text for both, with the same headers.
TARGETS = ["aarch64-ios.17.0", "x86_64-macos.14.0"]
ASKS = re.compile(r"# *if|<(dlfcn|errno|fcntl|math|pthread|time|unistd)\.h>|<(mach-o|sys)/")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="git makes no links on Windows")


def test_every_kernel_is_compiled_for_its_instruction_set() -> None:
    wanted = make_sources.isa_files()
    found = {path: path.read_text("utf-8") for path in make_sources.ISA.glob("*/*.cc")}
    assert found == wanted, WRITE
    assert len(wanted) > 60
    for path in wanted:
        assert (make_sources.ISA / f"{path.parent.name}.h").is_file(), path


def test_the_package_lists_every_source() -> None:
    assert make_sources.MANIFEST.read_text("utf-8") == make_sources.manifest(), WRITE


def test_instruction_sets_are_those_of_the_build_by_cmake() -> None:
    """``-mavx2`` or ``+dotprod`` there is "avx2" or "dotprod" here."""
    cmake = (ROOT / "custom_ops" / "CMakeLists.txt").read_text("utf-8")
    for header in make_sources.ISA.glob("*.h"):
        flags = re.search(rf'kernels\({header.stem}\s+"([^"]*)"', cmake)
        assert flags, header
        wanted = set(re.findall(r"(?:-m|\+)(\w+)", flags[1])) - {"arch", "tune"}
        attribute = re.search(r'target\("([^"]*)"\)', header.read_text("utf-8"))
        assert set(attribute[1].split(",") if attribute else []) == wanted


def test_links_lead_to_the_sources() -> None:
    links = [path for path in IOS.glob("Sources/*/*") if path.is_symlink()]
    assert len(links) == 6
    for link in [*links, ENGINE / "include" / "bitnet_edge.h"]:
        assert link.resolve().is_relative_to(ROOT)
        assert not os.path.isabs(os.readlink(link))
        assert link.exists()


def test_one_version() -> None:
    register = (OPERATORS / "register.cc").read_text("utf-8")
    assert f'BITNET_ONNX_VERSION "{bitnet_onnx.__version__}"' in register
    properties = project()["targets"]["BitNet"]["info"]["properties"]
    assert properties["CFBundleShortVersionString"] == bitnet_onnx.__version__


def project() -> dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]]:
    return yaml.safe_load((IOS / "project.yml").read_text("utf-8"))


def test_files_that_the_project_names_exist() -> None:
    target = project()["targets"]["BitNet"]
    for name in re.findall(r"App/[\w./]+", str(target)):
        # By XcodeGen, by the user.
        made = name in ("App/Info.plist", "App/Licences.txt", "App/Model")
        assert made or (IOS / name).exists(), name
    for name in ("PrivacyInfo.xcprivacy", "macOS.entitlements"):
        plistlib.loads((IOS / "App" / name).read_bytes())
    privacy = plistlib.loads((IOS / "App" / "PrivacyInfo.xcprivacy").read_bytes())
    assert privacy["NSPrivacyTracking"] is False
    entitlements = plistlib.loads((IOS / "App" / "macOS.entitlements").read_bytes())
    assert not [name for name in entitlements if "network" in name]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_package_compiles_for_apples_systems(target: str, tmp_path: Path) -> None:
    """With no flag but those that SwiftPM passes, by zig and the headers that it carries."""
    ziglang = pytest.importorskip("ziglang")
    zig = Path(ziglang.__file__).parent / "zig"
    listed = re.search(r"let operators = \[(.*?)\]", make_sources.MANIFEST.read_text("utf-8"), re.S)
    assert listed
    operators = [OPERATORS / name for name in re.findall(r'"(.*?)"', listed[1])]
    operators += [OPERATORS / "register.cc", *make_sources.ISA.glob("*/*.cc")]
    engine = [
        path
        for path in (ENGINE / "src").glob("**/*.cc")
        if not path.name.startswith("test_")
        and (target == TARGETS[0] or ASKS.search(path.read_text("utf-8")))
    ]
    assert {"threads.cc", "libraries.cc", "pages.cc"} <= {path.name for path in engine}
    darwin = zig.parent / "lib" / "libc" / "include" / "any-darwin-any"  # zig knows them for macOS
    searched = {
        OPERATORS: [OPERATORS, OPERATORS / "onnxruntime" / "include"],
        ENGINE: [ENGINE / "src", ENGINE / "include", OPERATORS / "include",
                 OPERATORS / "onnxruntime" / "include"],
    }  # fmt: skip

    def compiled(number: int, source: Path, folder: Path) -> str:
        defines = ["-DBITNET_EDGE_OPERATORS_LINKED", "-DBITNET_EDGE_ONNXRUNTIME_LINKED"]
        call = [zig, "c++", "-target", target, "-std=c++20", "-O0", "-c", source,
                "-o", tmp_path / f"{number}.o", *(f"-I{path}" for path in searched[folder]),
                "-isystem", darwin, *(defines if folder == ENGINE else [])]  # fmt: skip
        done = subprocess.run([str(part) for part in call], capture_output=True, text=True)
        return "" if done.returncode == 0 else f"{source}: {done.stderr[:2000]}"

    jobs = [(path, OPERATORS) for path in operators] + [(path, ENGINE) for path in engine]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda job: compiled(job[0], *job[1]), enumerate(jobs))
    assert not [text for text in said if text]
