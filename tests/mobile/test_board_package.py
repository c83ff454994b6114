"""The Debian package of the program for boards: what is inside, what it refuses, its service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.environment import of_another_cpu
from tests.support.native.board import ARM, BUILD, needs_arm, program
from tests.support.paths import ROOT

BOARD = ROOT / "mobile_demo" / "board"
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")
SCRIPTS = ("postinst", "prerm", "postrm")
CPACK = shutil.which("cpack") or str(ROOT / ".venv" / "bin" / "cpack")
CMAKE = shutil.which("cmake") or str(ROOT / ".venv" / "bin" / "cmake")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb")
@pytest.mark.parametrize(
    "build", [BUILD, pytest.param(ARM, marks=needs_arm)], ids=["here", "arm64"]
)
def test_the_debian_package_holds_what_runs(
    build: Path, demo_artifact: Path, tmp_path: Path
) -> None:
    program()
    call: list[str | Path] = [CPACK, "--config", build / "CPackConfig.cmake", "-B", tmp_path]
    call += ["-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"]  # xz, as released, takes half a minute
    subprocess.run(call, check=True, capture_output=True)
    (package,) = tmp_path.glob("bitnet-edge_*.deb")
    fields = said("dpkg-deb", "-f", package)
    assert ("Architecture: arm64" in fields) == (build == ARM)
    assert "Package: bitnet-edge\n" in fields
    system, control = tmp_path / "system", tmp_path / "control"
    said("dpkg-deb", "-x", package, system)
    said("dpkg-deb", "-e", package, control)
    assert all(os.access(control / name, os.X_OK) for name in SCRIPTS)
    doc = system / "usr" / "share" / "doc" / "bitnet-edge"
    names = {"README.md", "copyright", *(f"onnxruntime-{name}" for name in LICENCES)}
    assert names == {path.name for path in doc.iterdir()}
    assert_depends_suffice(fields, system / "usr" / "lib" / "bitnet-edge")
    emulated: list[str | Path] = [BOARD / "emulated.sh", "cortex-a72", tmp_path]
    done = subprocess.run(
        [*(emulated if build == ARM else []), system / "usr" / "bin" / "bitnet-edge",
         demo_artifact, "What is 27 + 5?"],
        capture_output=True, env=of_another_cpu(), timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"32\n"), done.stderr


def assert_depends_suffice(fields: str, folder: Path) -> None:
    """Fail where a file needs a newer C library than the package asks for."""
    depends = re.search(r"^Depends: libc6 \(>= 2\.(\d+)\), libstdc\+\+6 \(>= 12\)$", fields, re.M)
    assert depends, fields
    if os.confstr("CS_GNU_LIBC_VERSION") != "glibc 2.36":
        return  # the release that packages are made on
    listed = said("readelf", "-VW", *folder.iterdir())
    assert max(int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", listed)) <= int(depends[1])
    assert max(int(last) for last in re.findall(r"GLIBCXX_3\.4\.(\d+)", listed)) <= 30  # GCC 12


def said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path(CMAKE).exists():
        pytest.skip("no cmake")
    return tmp_path_factory.mktemp("configured")


def packed(build: Path, onnxruntime: Path | str) -> str:
    """Return what cpack's own check of a build says; nothing is compiled."""
    said(CMAKE, "-S", BOARD, "-B", build, f"-DBITNET_EDGE_ONNXRUNTIME={onnxruntime}")
    done = subprocess.run(
        [CMAKE, "-P", build / "package_check.cmake"], capture_output=True, text=True
    )
    config = (build / "CPackConfig.cmake").read_text("utf-8")
    assert f'CPACK_PROJECT_CONFIG_FILE "{build}/package_check.cmake"' in config
    return re.sub(r"\s+", " ", done.stderr) if done.returncode else ""


FOLDERS = {  # where the library lies, where the licences
    "a wheel": ("onnxruntime/capi/libonnxruntime.so.1.32.0", "onnxruntime/"),
    "an archive": ("lib/libonnxruntime.so.1.32.0", ""),
    "one folder": ("libonnxruntime.so", ""),
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("lacking", [(), LICENCES[:1], LICENCES[1:], LICENCES], ids=str)
def test_no_package_without_the_licences_of_onnx_runtime(
    kind: str, lacking: tuple[str, ...], configured: Path, tmp_path: Path
) -> None:
    library, licences = FOLDERS[kind]
    for name in (library, *(licences + name for name in LICENCES if name not in lacking)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    refused = packed(configured, tmp_path)
    assert ("no package is made" in refused) == bool(lacking), refused
    assert all(name in refused for name in lacking)


def test_no_package_without_onnx_runtime(configured: Path) -> None:
    refused = packed(configured, "")
    assert "no package is made: ONNX Runtime is not in this build" in refused
    done = subprocess.run(
        [CPACK, "--config", configured / "CPackConfig.cmake"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert not list(configured.glob("*.deb"))


def test_what_the_page_unpacks_of_a_wheel_makes_a_package(configured: Path, tmp_path: Path) -> None:
    page = (BOARD / "README.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ (python3 -m zipfile .*)$", page, re.MULTILINE)
    (folder,) = re.findall(r"-B build/board -DBITNET_EDGE_ONNXRUNTIME=(\S+)", page)
    with zipfile.ZipFile(tmp_path / "onnxruntime-1.32.0-any.whl", "w") as wheel:
        for name in ("capi/libonnxruntime.so.1.32.0", *LICENCES):
            wheel.writestr(f"onnxruntime/{name}", "")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert packed(configured, tmp_path / folder) == ""


CALLS = [
    (("postinst", "configure"), ["daemon-reload"]),
    (("postinst", "configure", "0.1.0"), ["daemon-reload", "try-restart bitnet-edge.service"]),
    (("postinst", "abort-upgrade", "0.1.0"), []),
    (("prerm", "upgrade", "0.3.0"), []),
    (("prerm", "remove"), ["disable --now bitnet-edge.service"]),
    (("postrm", "remove"), ["daemon-reload"]),
    (("postrm", "upgrade", "0.3.0"), []),
]


@pytest.mark.parametrize(("call", "expected"), CALLS, ids=lambda value: " ".join(value))
@pytest.mark.parametrize("systemd", ["runs", "fails", "is not there"])
def test_the_service_ends_with_the_package(
    call: tuple[str, ...], expected: list[str], systemd: str, tmp_path: Path
) -> None:
    """By the package's scripts, and a systemctl that writes down what it is asked."""
    running, asked, systemctl = tmp_path / "systemd", tmp_path / "asked", tmp_path / "systemctl"
    code = int(systemd == "fails")
    systemctl.write_text(f'#!/bin/sh\necho "$*" >> "{asked}"\nexit {code}\n')
    systemctl.chmod(0o755)
    if systemd != "is not there":
        running.mkdir()
    script = (BOARD / "debian" / call[0]).read_text("utf-8")
    assert "/run/systemd/system" in script
    script = script.replace("/run/systemd/system", str(running))
    path = f"{tmp_path}:{os.environ['PATH']}"
    line = ["sh", "-c", script, *call]
    subprocess.run(line, check=True, env=os.environ | {"PATH": path})
    found = asked.read_text("utf-8").splitlines() if asked.exists() else []
    assert found == (expected if running.exists() else [])


def test_the_unit_s_command_is_one_that_the_program_knows() -> None:
    unit = (BOARD / "systemd" / "bitnet-edge.service").read_text("utf-8")
    commands = re.findall(r"^#?ExecStart=/usr/bin/bitnet-edge (.*)$", unit, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run([program(), *command.split()], capture_output=True, timeout=60)
        assert b"/usr/local/share/bitnet-edge/model" in done.stderr or b"unix:" in done.stderr
        # A mistake: systemd would else try again for ever.
        assert f"\nRestartPreventExitStatus={done.returncode}\n" in unit
    for option in ("DynamicUser=yes", "ProtectSystem=strict", "IPAddressDeny=any"):
        assert f"\n{option}\n" in unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "bitnet-edge.service"
    text = (BOARD / "systemd" / "bitnet-edge.service").read_text("utf-8")
    unit.write_text(text.replace("/usr/bin/bitnet-edge", str(program())))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if "bitnet-edge" in line]
    assert lines == [], done.stderr
