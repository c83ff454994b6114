"""Builds and signs the app without Google's SDK: dist/bitnet-VERSION.apk, and one for arm64 alone.

`make apk` runs it. Debian's aapt compiles the resources, javac and dx the Java, zig the C++; Gradle
builds the same sources in Android Studio. What is missing is installed or downloaded: downloads.py.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import ziglang

import bitnet_onnx
from mobile_demo import licences
from mobile_demo.android.tools import archive, downloads, native

__all__: list[str] = []

ROOT = downloads.ROOT
APP = ROOT / "mobile_demo" / "android" / "app"
MAIN = APP / "src" / "main"
BUILD = ROOT / "build" / "android"
PROGRAMS = {  # what runs: Debian's package
    "aapt": "aapt",
    "apksigner": "apksigner",
    "cmake": "cmake",
    "javac": "default-jdk-headless",
    "zipalign": "zipalign",
}
PASSWORD = "android"  # of a key for tries: whoever distributes the app signs it with their own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the artifact folder that the app brings")
    parser.add_argument("--outdir", type=Path, default=ROOT / "dist")
    args = parser.parse_args()
    downloads.apt(PROGRAMS)
    BUILD.mkdir(parents=True, exist_ok=True)
    files = compiled()
    for path in sorted(args.model.iterdir()):
        files[f"assets/model/{path.name}"] = path
    # Whoever passes the app on passes these on with it.
    files["assets/licences.txt"] = licences.text(Path(ziglang.__file__).parent).encode()
    args.outdir.mkdir(parents=True, exist_ok=True)
    version = bitnet_onnx.__version__
    libraries = {abi: native.build(abi, BUILD) for abi in native.ABIS}
    for abis, name in ((native.ABIS, ""), (("arm64-v8a",), "-arm64-v8a")):
        inside: dict[str, bytes | Path] = {
            f"lib/{abi}/{path.name}": path for abi in abis for path in libraries[abi]
        }
        apk = args.outdir / f"bitnet-{version}{name}.apk"
        unsigned = BUILD / "unsigned.apk"
        archive.write(unsigned, files | inside)
        sign(unsigned, apk)
        print(f"{apk}: {apk.stat().st_size / 1e6:.1f} MB, {', '.join(abis)}")


def gradle(name: str) -> str:
    """Return a setting of app/build.gradle, where Android Studio reads it too."""
    text = (APP / "build.gradle").read_text("utf-8")
    found = re.search(rf"^\s*{name} = ['\"]?([\w.]+)", text, re.MULTILINE)
    assert found is not None, name
    return found[1]


def compiled() -> dict[str, bytes | Path]:
    """Return the manifest, the resources and the classes: name in the APK to content."""
    for name in ("java", "classes"):
        shutil.rmtree(BUILD / name, ignore_errors=True)
        (BUILD / name).mkdir()
    jar = downloads.fetch(downloads.ANDROID_JAR)
    resources = BUILD / "resources.apk"
    run(
        "aapt", "package", "-f", "-m", "-J", BUILD / "java", "-M", whole_manifest(), "-I", jar,
        "-S", MAIN / "res", "-F", resources,
        "--min-sdk-version", gradle("minSdk"), "--target-sdk-version", gradle("targetSdk"),
        "--version-code", version_code(), "--version-name", bitnet_onnx.__version__,
    )  # fmt: skip
    sources = [*(MAIN / "java").rglob("*.java"), *(BUILD / "java").rglob("*.java")]
    # dx and the classes of Android 6 know no lambdas, so the app has none.
    run(
        "javac", "-Xlint:all,-options", "-Werror", "-encoding", "UTF-8", "-source", "8",
        "-target", "8", "-bootclasspath", jar, "-d", BUILD / "classes", *sorted(sources),
    )  # fmt: skip
    run(
        "java", "-cp", downloads.fetch(downloads.DX_JAR), "com.android.dx.command.Main", "--dex",
        f"--min-sdk-version={gradle('minSdk')}", f"--output={BUILD / 'classes.dex'}",
        BUILD / "classes",
    )  # fmt: skip
    with zipfile.ZipFile(resources) as made:
        files: dict[str, bytes | Path] = {name: made.read(name) for name in made.namelist()}
    return files | {"classes.dex": BUILD / "classes.dex"}


def whole_manifest() -> Path:
    """Write the manifest as Gradle's plugin would complete it, and return its path."""
    text = (MAIN / "AndroidManifest.xml").read_text("utf-8")
    text = text.replace("<manifest ", f'<manifest package="{gradle("namespace")}" ', 1)
    # The libraries are read in place, inside the APK.
    text = text.replace("<application", '<application android:extractNativeLibs="false"', 1)
    path = BUILD / "AndroidManifest.xml"
    path.write_text(text, "utf-8")
    return path


def version_code() -> str:
    major, minor, patch = (int(part) for part in bitnet_onnx.__version__.split(".")[:3])
    return str(major * 1_000_000 + minor * 1_000 + patch)


def sign(unsigned: Path, apk: Path) -> None:
    """Sign with a key for tries, made at the first time."""
    keys = BUILD / "debug.keystore"
    if not keys.exists():
        run(
            "keytool", "-genkeypair", "-keystore", keys, "-storepass", PASSWORD, "-keypass",
            PASSWORD, "-alias", "debug", "-keyalg", "RSA", "-keysize", "3072", "-validity",
            "10000", "-dname", "CN=Debug",
        )  # fmt: skip
    run(
        "apksigner", "sign", "--ks", keys, "--ks-pass", f"pass:{PASSWORD}",
        "--min-sdk-version", gradle("minSdk"), "--v4-signing-enabled", "false",
        "--v3-signing-enabled", "true", "--out", apk, unsigned,
    )  # fmt: skip


def run(*command: str | Path) -> None:
    """Show the output of a command only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{command[0]} failed")


if __name__ == "__main__":
    main()
