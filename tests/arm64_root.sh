#!/usr/bin/env bash
# Unpacks Debian's Python for arm64 into a folder, to be run by an emulator. It downloads from the
# sources of this machine into that folder, and does not change the system.
set -euo pipefail
root=$1
side=$root.part
rm -rf "$root" "$side"
mkdir -p "$side/apt/lists/partial" "$side/apt/cache/archives/partial" "$side/root/proc"
touch "$side/apt/status"
export APT_CONFIG=$side/apt.conf
cat > "$APT_CONFIG" <<SETTINGS
APT::Architecture "arm64";
APT::Architectures "arm64";
APT::Install-Recommends "false";
Dir::State "$side/apt";
Dir::State::status "$side/apt/status";
Dir::Cache "$side/apt/cache";
Debug::NoLocking "true";
SETTINGS
apt-get update -q
apt-get install -qy --download-only python3-minimal libpython3-stdlib libstdc++6
for package in "$side"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$side/root"; done
# ONNX Runtime reads the CPU from this file; it must describe that of `qemu -cpu max`, not this CPU.
cat > "$side/root/proc/cpuinfo" <<CPU
processor	: 0
Features	: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp i8mm
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

CPU
mv "$side/root" "$root"
rm -rf "$side"
