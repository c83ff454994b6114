#!/usr/bin/env bash
# Runs a program for 64-bit Arm on an emulated CPU, which sees a folder of links as its system.
#   emulated.sh cortex-a53|cortex-a72|cortex-a76 FOLDER PROGRAM [ARGUMENT]...
set -euo pipefail
cpu=$1 root=$2/$1
case $cpu in
  cortex-a53) part=0xd03 more= ;;
  cortex-a72) part=0xd08 more= ;;
  cortex-a76) part=0xd0b more=' atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs' ;;
  *) echo "error: the CPU is $cpu, expected cortex-a53, cortex-a72 or cortex-a76" >&2; exit 2 ;;
esac
shift 2
mkdir -p "$root/proc"
ln -sfn /usr/aarch64-linux-gnu/lib "$root/lib"  # Debian's libraries of C and C++
# ONNX Runtime reads here what the CPU can do.
cat > "$root/proc/cpuinfo" <<CPU
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32$more
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: $part
CPU revision	: 1

CPU
exec qemu-aarch64-static -cpu "$cpu" -L "$root" "$@"
