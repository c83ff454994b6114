"""Builds a wheel for every platform, and the bare library for phones, on one Linux machine.

`make wheels` runs it. PyPI's ziglang compiles (custom_ops/cmake/zig.cmake); scikit-build-core packs
as for `make wheel`. The library does not link Python, so each platform has one wheel.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLCHAIN = ROOT / "custom_ops" / "cmake" / "zig.cmake"
DIST = ROOT / "dist"

WHEELS = {  # the platform in the wheel's name: what zig calls it
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_1_x86_64": "x86_64-linux-musl",
    "musllinux_1_1_aarch64": "aarch64-linux-musl",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "win_amd64": "x86_64-windows-gnu",
    "win_arm64": "aarch64-windows-gnu",
}
LIBRARIES = {  # the folder under dist/: what zig calls it
    "android/arm64-v8a": "aarch64-linux-android",
    "android/x86_64": "x86_64-linux-android",
    "ios/arm64": "aarch64-ios.13.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*WHEELS, *LIBRARIES], help="default: all")
    parser.add_argument("--outdir", type=Path, default=DIST)
    parser.add_argument(
        "--here", action="store_true", help="only print CMake's options for this machine"
    )
    args = parser.parse_args()
    if args.here:
        print(*(f"-D{key}={value}" for key, value in settings(native_target()).items()))
        return
    for name in set(args.names) - {*WHEELS, *LIBRARIES}:
        parser.error(f"platform {name!r}, expected one of {', '.join([*WHEELS, *LIBRARIES])}")
    # In parallel, as zig makes the C library of a platform one file at a time.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for made in [pool.submit(build, name, args.outdir) for name in args.names]:
            print(made.result(), flush=True)


def native_target() -> str:
    """What zig calls this machine; glibc 2.17 is what ONNX Runtime's wheels ask for at least."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    return f"{machine}-macos.11.0" if sys.platform == "darwin" else f"{machine}-linux-gnu.2.17"


def build(name: str, outdir: Path) -> str:
    (build_wheel if name in WHEELS else build_library)(name, outdir)
    return name


def settings(target: str) -> dict[str, str]:
    import ziglang

    zig = Path(ziglang.__file__).parent / "zig"
    return {"CMAKE_TOOLCHAIN_FILE": str(TOOLCHAIN), "ZIG": str(zig), "ZIG_TARGET": target}


def build_wheel(platform: str, outdir: Path) -> None:
    options = {
        "wheel.tags": f"py3-none-{platform}",
        "build-dir": f"build/wheels/{platform}",
        **{f"cmake.define.{key}": value for key, value in settings(WHEELS[platform]).items()},
    }
    given = [f"--config-setting={key}={value}" for key, value in options.items()]
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", outdir, *given, ROOT
    )


def build_library(name: str, outdir: Path) -> None:
    folder = ROOT / "build" / "wheels" / name
    given = [f"-D{key}={value}" for key, value in settings(LIBRARIES[name]).items()]
    run("cmake", "-S", ROOT / "custom_ops", "-B", folder, *given)
    run("cmake", "--build", folder, "--target", "bitnet_onnx_ops")
    (built,) = folder.glob("libbitnet_onnx_ops.*")
    (outdir / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(built, outdir / name)


def run(*command: str | Path) -> None:
    """Shows the output of the command only if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": path},
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{command[0]} failed")


if __name__ == "__main__":
    main()
