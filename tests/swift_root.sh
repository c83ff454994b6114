#!/usr/bin/env bash
# Installs Debian 13 with its Swift into a folder, for tests/mobile/test_ios_swift.py:
#   sudo tests/swift_root.sh build/swift-root
#   sudo BITNET_ONNX_SWIFT_ROOT=build/swift-root python -m pytest tests/mobile/test_ios_swift.py
# It takes 2.7 GB, needs debootstrap, and changes nothing outside of the folder.
set -euo pipefail
root=$1
keys=/usr/share/keyrings/debian-archive-keyring.gpg
debootstrap --variant=minbase --keyring="$keys" trixie "$root" "${2:-http://deb.debian.org/debian}"
cp /etc/resolv.conf "$root/etc/"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update -q
chroot "$root" apt-get install -qy --no-install-recommends swiftlang libc6-dev libstdc++-14-dev git
chroot "$root" apt-get clean
