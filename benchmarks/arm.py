"""Predict, not measure, the speed of the Arm kernels: llvm-mca on inner loops, then arithmetic.

``python -m benchmarks.arm`` compiles the kernels with the flags of the cross build, extracts the
inner loop of each from the assembly, and asks llvm-mca how many cycles an iteration takes on each
core when all loads hit the L1 cache (they are prefetched). A device then reads its weights at the
speed of its cores or of its memory, whichever is slower. The prediction is for the dense 2B-4T
shape, without attention and without the savings from zeros. It needs LLVM 17 or later
(``LLVM_MCA`` names the program): earlier ones use the model of Cortex-A57 for all larger Arm cores.
``--write`` renews the file from which ``bitnet-onnx export --for`` predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPS = ROOT / "custom_ops"
RATES = ROOT / "bitnet_onnx" / "exporter" / "devices.json"
# What one token reads: ternary weights, and a head of 8 or of 6 bits.
BODY_BYTES, HEAD_BYTES, HEAD6_BYTES = 521e6, 328e6, 256e6
TURNS = 200


@dataclass(frozen=True)
class Loop:
    """The inner loop of a kernel: of the functions whose name contains ``within``, the loop with
    the most ``op`` instructions, of which ``count`` consume 64 bytes of weights."""

    kernel: str
    function: str
    within: str
    op: str
    count: int = 0
    lanes: int = 0  # for more activation rows instead: multiply-adds of one ``op``
    rows: int = 0  # of activations, where they are few

    @property
    def file(self) -> str:
        """In custom_ops/kernels, without its suffix."""
        return f"{self.function}/arm_{self.kernel}"


LOOPS = (
    Loop("neon", "ternary_gemv", "ternary_gemv", "smlal", 16),
    Loop("neon", "ternary_columns", "", "smlal", 16),
    Loop("neon", "int8_gemv", "products<4, 1>", "smlal", 8),
    Loop("neon", "level_gemv", "gemv_int6", "prfm", 1),  # of 6 bits; it fetches each line once
    Loop("neon", "bf16_gemv", "bf16", "fmla", 16),
    Loop("neon_dotprod", "ternary_gemv", "ternary_gemv", "sdot", 16),
    Loop("neon_dotprod", "ternary_columns", "", "sdot", 16),
    Loop("neon_dotprod", "int8_gemv", "products<4, 1>", "sdot", 8),
    Loop("neon_dotprod", "level_gemv", "gemv_int6", "prfm", 1),
    Loop("neon", "ternary_few", "products<4, 2>", "smlal2", lanes=16, rows=2),
    Loop("neon", "ternary_few", "products<4, 4>", "smlal2", lanes=16, rows=4),
    Loop("neon", "ternary_few", "products<2, 8>", "smlal2", lanes=16, rows=8),
    Loop("neon_dotprod", "ternary_few", "products<4, 2>", "sdot", lanes=16, rows=2),
    Loop("neon_dotprod", "ternary_few", "products<4, 4>", "sdot", lanes=16, rows=4),
    Loop("neon_dotprod", "ternary_few", "products<2, 8>", "sdot", lanes=16, rows=8),
    Loop("neon_i8mm", "ternary_few", "products<2>", "smmla", lanes=32, rows=2),
    Loop("neon_i8mm", "ternary_few", "products<4>", "smmla", lanes=32, rows=4),
    Loop("neon_i8mm", "ternary_few", "products<8>", "smmla", lanes=32, rows=8),
    Loop("neon", "int8_gemv", "products<4, 4>", "smlal2", lanes=8, rows=4),
    Loop("neon_dotprod", "int8_gemv", "products<4, 2>", "sdot", lanes=8, rows=2),
    Loop("neon", "ternary_gemm", "tile", "smlal2", lanes=16),
    Loop("neon_dotprod", "ternary_gemm", "tile", "sdot", lanes=16),
    Loop("neon_i8mm", "ternary_gemm", "tile", "smmla", lanes=32),
)

# The kernels and a usual clock of each core. LLVM's model of a phone core is often that of a server
# core: Neoverse N1 for Cortex-A76, V1 for Cortex-X1, N2 for Cortex-A710. Its Apple model is from
# 2013, with three vector units instead of the four of an M1.
CORES = {
    "cortex-a53": (("neon",), 1.4),
    "cortex-a72": (("neon",), 1.8),
    "cortex-a55": (("neon", "neon_dotprod"), 2.0),
    "cortex-a510": (("neon_dotprod", "neon_i8mm"), 2.0),
    "neoverse-n1": (("neon", "neon_dotprod"), 2.4),
    "neoverse-n2": (("neon_dotprod", "neon_i8mm"), 3.0),
    "neoverse-v1": (("neon_dotprod", "neon_i8mm"), 3.3),
    "apple-m1": (("neon_dotprod",), 3.2),
}


@dataclass(frozen=True)
class Device:
    """A device: cores (number, model, GHz), peak memory GB/s, and the share that reads reach."""

    name: str
    kernel: str
    cores: tuple[tuple[int, str, float], ...]
    peak: float
    share: float = 0.7
    group: str | None = None
    """The ``--for`` of bitnet-onnx export whose table the device is in."""

    def rate(self, cycles: dict[tuple[str, str, str], float], function: str) -> float:
        """Return the bytes a second that all cores consume together."""
        return sum(
            count * ghz * 1e9 * 64 / cycles[self.kernel, function, core]
            for count, core, ghz in self.cores
        )


DEVICES = (
    Device("Raspberry Pi 4", "neon", ((4, "cortex-a72", 1.8),), 12.8, 0.35, "board"),
    Device("Raspberry Pi 5", "neon_dotprod", ((4, "neoverse-n1", 2.4),), 17.1, group="board"),
    Device(
        "mid-range phone: 2 A78, LPDDR4X",
        "neon_dotprod",
        ((2, "neoverse-n1", 2.4),),
        17.1,
        group="android",
    ),
    Device(
        "flagship phone: X4 and 3 A720, LPDDR5X",
        "neon_dotprod",
        ((1, "neoverse-v1", 3.3), (3, "neoverse-n2", 3.0)),
        76.8,
        group="android",
    ),
    Device("Apple M1: 4 large cores", "neon_dotprod", ((4, "apple-m1", 3.2),), 68.3, group="ios"),
    Device("Cobalt 100: 1 thread", "neon_dotprod", ((1, "neoverse-n2", 3.4),), 40),
    Device("Cobalt 100: 8 threads", "neon_dotprod", ((8, "neoverse-n2", 3.4),), 200),
)


def assembly() -> dict[str, str]:
    """Compile the kernels with the cross build's compiler and flags; return assembly by file."""
    folder = ROOT / "build" / "arm64"
    options = {
        "CMAKE_TOOLCHAIN_FILE": OPS / "cmake" / "aarch64-linux-gnu.cmake",
        "CMAKE_BUILD_TYPE": "Release",
        "BITNET_ONNX_TESTS": "ON",
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
    }
    settings = [f"-D{name}={value}" for name, value in options.items()]
    subprocess.run(
        ["cmake", "-S", OPS, "-B", folder, *settings], check=True, stdout=subprocess.DEVNULL
    )
    files = {}
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        name = "/".join(Path(entry["file"]).with_suffix("").parts[-2:])
        kernels = "bitnet_core.dir" in entry["command"]  # not the copy without optimization
        if kernels and name in {loop.file for loop in LOOPS}:
            command = re.sub(r" -o \S+", "", entry["command"]).replace(" -c ", " -S -o - ")
            files[name] = subprocess.run(
                command.split(), cwd=entry["directory"], check=True, capture_output=True, text=True
            ).stdout
    return files


def readable(symbol: str) -> str:
    """Return a mangled name with its template's arguments as in the source."""
    numbers = re.search(r"I((?:Li\d+E)+)E", symbol)
    if numbers is None:
        return symbol
    arguments = ", ".join(re.findall(r"\d+", numbers[1]))
    return symbol.replace(numbers[0], f"<{arguments}>")


def innermost(text: str) -> list[tuple[str, list[str]]]:
    """Return (function, instructions) of each loop without another label inside."""
    found: list[tuple[str, list[str]]] = []
    body: list[str] = []
    function = label = ""
    for line in text.splitlines():
        if match := re.match(r"(_Z[\w.]+):", line):
            function, label = readable(match[1]), ""
        elif match := re.match(r"(\.L\d+):", line):
            label, body = match[1], []
        elif line.startswith("\t") and not line.startswith("\t."):
            body.append(line)
            if label and re.match(r"\tc?[bt]\S*\t", line) and line.split()[-1] == label:
                found.append((function, body))
                label, body = "", []
    return found


def operations(body: list[str], op: str) -> int:
    return sum(line.split()[0] == op for line in body)


def turn(mca: str, core: str, body: list[str]) -> float:
    """Return the cycles of one iteration of the loop."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm"]
    done = subprocess.run(
        [*command, f"-iterations={TURNS}", "-"],
        input="\n".join(body), capture_output=True, text=True,
    )  # fmt: skip
    match = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if match is None:
        raise SystemExit(f"error: {mca} does not know {core}: {done.stderr.strip()}")
    return int(match[1]) / TURNS


def newest_mca() -> str:
    names = [f"llvm-mca-{version}" for version in range(30, 13, -1)] + ["llvm-mca"]
    found = os.environ.get("LLVM_MCA") or next(filter(shutil.which, names), None)
    if found is None:
        raise SystemExit("error: llvm-mca is not installed\nhint: apt-get install llvm-19")
    return found


def print_loops(mca: str) -> dict[tuple[str, str, str], float]:
    """Print the first table; return the cycles for 64 bytes by kernel, function and core."""
    files = assembly()
    cycles: dict[tuple[str, str, str], float] = {}
    print("| kernel | function | core | GHz | cycles for 64 bytes | GB/s | multiply-adds a cycle |")
    print("|---|---|---|---|---|---|---|")
    for loop in LOOPS:
        bodies = [b for name, b in innermost(files[loop.file]) if loop.within in name]
        body = max(bodies, key=lambda b: operations(b, loop.op))
        here = operations(body, loop.op)
        for core, (kernels, ghz) in CORES.items():
            if loop.kernel not in kernels and loop.function != "bf16_gemv":  # all kernels share it
                continue
            one = turn(mca, core, body)
            if loop.lanes:
                columns = f"| | {here * loop.lanes / one:.1f} |"
            else:
                whole = one * loop.count / here
                cycles[loop.kernel, loop.function, core] = whole
                columns = f"{whole:.1f} | {64 * ghz / whole:.1f} | |"
            name = f"{loop.function}, {loop.rows} rows" if loop.rows else loop.function
            print(f"| {loop.kernel} | {name} | {core} | {ghz} | {columns}")
    return cycles


def print_devices(cycles: dict[tuple[str, str, str], float]) -> None:
    rates = "ternary_gemv, GB/s | head, GB/s | of 6 bits, GB/s | gemv / memory"
    print(f"| device | memory, GB/s | {rates} | tokens/s | of 6 bits, tokens/s |")
    print("|---|---|---|---|---|---|---|---|")
    for device in DEVICES:
        memory = device.peak * device.share * 1e9
        functions = "ternary_gemv", "int8_gemv", "level_gemv"
        body, head, six = (device.rate(cycles, function) for function in functions)
        first, last = BODY_BYTES / min(memory, body), HEAD_BYTES / min(memory, head)
        last6 = HEAD6_BYTES / min(memory, six)
        print(
            f"| {device.name} | {memory / 1e9:.1f} of {device.peak} | {body / 1e9:.1f} "
            f"| {head / 1e9:.1f} | {six / 1e9:.1f} | {body / memory:.1f} "
            f"| {1 / (first + last):.1f} | {1 / (first + last6):.1f} |"
        )


def write_rates(cycles: dict[tuple[str, str, str], float], version: str) -> None:
    """Write the bytes a second of each device that a reader of ``--for`` may have."""
    devices = [
        {
            "name": device.name,
            "for": device.group,
            "memory": round(device.peak * device.share * 1e9),
            "ternary": round(device.rate(cycles, "ternary_gemv")),
            "head": round(device.rate(cycles, "int8_gemv")),
            "head6": round(device.rate(cycles, "level_gemv")),
        }
        for device in DEVICES
        if device.group
    ]
    made = {"made_by": "python -m benchmarks.arm --write", "llvm": version, "devices": devices}
    RATES.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict the speed of the Arm kernels.")
    parser.add_argument("--write", action="store_true", help=f"renew {RATES.relative_to(ROOT)}")
    args = parser.parse_args()
    mca = newest_mca()
    version = subprocess.run([mca, "--version"], capture_output=True, text=True).stdout
    print("Predicted, not measured.", *re.findall(r"LLVM version \S+", version), "\n")
    cycles = print_loops(mca)
    print("\nDecode of the 2B-4T shape, predicted, not measured:\n")
    print_devices(cycles)
    if args.write:
        write_rates(cycles, " ".join(re.findall(r"LLVM version (\S+)", version)))


if __name__ == "__main__":
    main()
