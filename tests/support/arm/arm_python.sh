#!/bin/bash
# An ARM Linux's Python on an x86-64 Debian machine: Debian's own binary and the real ARM wheels from PyPI, run by qemu's
# user-mode emulation. Use it as one uses python:
#
#   ARM_ARCH=arm64 ARM_PYTHON=3.13 ARM_WHEELS="numpy ai-edge-litert" arm_python.sh -c 'import platform; print(platform.machine())'
#
#   ARM_ARCH     arm64 (default) or armhf (32 bits)
#   ARM_PYTHON   3.11 (Debian bookworm, default) or 3.13 (trixie)
#   ARM_WHEELS   what to take from PyPI, as for pip; "-r FILE" is understood. Default: nothing
#   ARM_DEBS     Debian packages beside Python; for armhf python3-numpy and python3-pil, which PyPI lacks for it
#   ARM_CPU      qemu's CPU: cortex-a72 (Pi 4, default), cortex-a76 (Pi 5), cortex-a53 (Pi 3); armhf: cortex-a7
#   ARM_RUN      1: the arguments are a command to run where python3 is the ARM one, such as "sh install.sh" (needs Linux 6.7)
#
# What is missing is fetched once by apt and pip, through this machine's own settings for them, into
# ${XDG_CACHE_HOME:-~/.cache}/edgepress-arm; nothing outside is changed and root is not needed. Where the kernel allows it
# (user namespaces that load interpreters, Linux 6.7), ARM programs that Python starts run, too.
# Limits: emulated times are not a board's, and a program sees this machine's files and kernel.
set -euo pipefail
arch=${ARM_ARCH:-arm64} py=${ARM_PYTHON:-3.11} wheels=${ARM_WHEELS-} deps=
case $py in 3.11) suite=bookworm;; 3.13) suite=trixie;; *) echo "no Debian release for Python $py" >&2; exit 2;; esac
case $arch in
  arm64) emu=aarch64 machine=aarch64 cpu=cortex-a72 debs=${ARM_DEBS-};;
  armhf) emu=arm machine=armv7l cpu=cortex-a7 debs=${ARM_DEBS-python3-numpy python3-pil} deps=--no-deps;;
  *) echo "unknown ARM_ARCH $arch" >&2; exit 2;;
esac
mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/edgepress-arm"
cache=$(realpath "${XDG_CACHE_HOME:-$HOME/.cache}/edgepress-arm")
key() { echo "$*" | md5sum | cut -c1-8; }
wanted=$(for word in $wheels; do if [ -f "$word" ]; then cat "$word"; else echo "$word"; fi; done)
qemu=$cache/qemu-$emu root=$cache/$suite-$arch-$(key "$debs") site=$cache/site-$suite-$arch-$(key "$wanted")

# apt_in SUITE ARCH APT_GET_ARG...: apt-get with a state of its own, on this machine's own mirror
apt_in() {
  local s=$1 a=$2 d=$work/apt-$1-$2 opts; shift 2
  opts=(-qq -o APT::Architecture="$a" -o APT::Architectures="$a" -o APT::Sandbox::User=root -o APT::Install-Recommends=false
    -o Acquire::Retries=3 -o Acquire::Languages=none -o APT::Update::Error-Mode=any -o Dpkg::Use-Pty=0
    -o Dir::Etc::SourceList="$d/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$d" -o Dir::State::status="$d/status"
    -o Dir::Cache="$d" -o Dir::Cache::archives="$d/debs")
  if [ ! -d "$d" ]; then
    mkdir -p "$d/lists/partial" "$d/debs/partial"; : >"$d/status"
    local keys=(/usr/share/keyrings/debian-archive-keyring.*) mirror
    mirror=$(apt-get update --print-uris | sed -nE "s#^'(.*)/dists/[a-z]+/InRelease'.*#\1#p")
    [ -n "$mirror" ] || { echo "found no Debian mirror in apt's settings" >&2; return 1; }
    echo "deb [signed-by=${keys[0]}] ${mirror%%$'\n'*} $s main" >"$d/sources.list"
    apt-get "${opts[@]}" update
  fi
  (cd "$d/debs" && apt-get "${opts[@]}" -y "$@")
}

prepare() {
  local deb lib so whl
  if [ ! -e "$qemu.conf" ]; then # a static binary, and the line that tells the kernel which programs it runs
    apt_in trixie "$(dpkg --print-architecture)" download qemu-user
    dpkg-deb --fsys-tarfile "$work"/apt-*/debs/qemu-user_*.deb |
      tar -x -C "$work" "./usr/bin/qemu-$emu" "./usr/share/qemu/binfmt.d/qemu-$emu.conf"
    mv "$work/usr/bin/qemu-$emu" "$qemu"; mv "$work/usr/share/qemu/binfmt.d/qemu-$emu.conf" "$qemu.conf"
  fi
  if [ ! -d "$root" ]; then # Debian's Python for ARM: unpacked, not installed
    apt_in "$suite" "$arch" install --download-only python3-minimal libpython3-stdlib libstdc++6 $debs >/dev/null
    mkdir -p "$work/root/usr/"{bin,lib,sbin}; for d in bin lib sbin; do ln -s usr/$d "$work/root/$d"; done
    for deb in "$work/apt-$suite-$arch"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
    rm -rf "$work/root"/{tmp,proc,dev,sys,run,home,root,usr/share/{doc,man,locale}} # what is not here is the host's
    for lib in blas/libblas lapack/liblapack; do # as update-alternatives would
      for so in "$work/root"/usr/lib/*/$lib.so.3; do if [ -e "$so" ]; then ln -s "$lib.so.3" "${so%/*/*}/"; fi; done
    done
    mv "$work/root" "$root"
  fi
  if [ ! -d "$site" ]; then
    mkdir "$work/site" "$work/wheels"
    if [ -n "$wheels" ]; then
      "${PYTHON:-python3}" -m pip download -q --disable-pip-version-check --only-binary=:all: $deps --implementation cp \
        --python-version "$py" $(printf -- "--platform manylinux_2_%s_$machine " $(seq 36 -1 17)) \
        --platform manylinux2014_$machine -d "$work/wheels" $wheels
      for whl in "$work"/wheels/*.whl; do "${PYTHON:-python3}" -m zipfile -e "$whl" "$work/site"; done
    fi
    mv "$work/site" "$site"
  fi
}

if [ ! -e "$qemu.conf" ] || [ ! -d "$root" ] || [ ! -d "$site" ]; then
  exec 9>"$cache/lock"; flock 9
  work=$(mktemp -d "$cache/tmp.XXXXXX"); trap 'rm -rf "$work"' EXIT
  prepare
  rm -rf "$work"; trap - EXIT; exec 9>&-
fi
export QEMU_LD_PREFIX=$root QEMU_CPU=${ARM_CPU:-$cpu} PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$site:$root/usr/lib/python3/dist-packages
export PYTHONPYCACHEPREFIX=$cache/pyc # importing numpy takes three times as long without
unset LD_LIBRARY_PATH LD_PRELOAD PYTHONHOME PYTHONDONTWRITEBYTECODE OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
cmd=("$root/usr/bin/python3" "$@")
if [ -n "${ARM_RUN-}" ]; then cmd=("$@"); export PATH=$root/usr/bin:$PATH; fi
ns=(unshare --map-root-user --pid --fork --kill-child --load-interp="$(sed "s#:/usr/libexec[^:]*:#:$qemu:#" "$qemu.conf")")
if "${ns[@]}" true 2>/dev/null; then # a shell as process 1, where a crash would not end the process
  exec "${ns[@]}" sh -c '"$@"; exit $?' sh "${cmd[@]}"
fi
if [ -n "${ARM_RUN-}" ]; then echo "the kernel starts no ARM programs here" >&2; exit 2; fi
exec "$qemu" "${cmd[@]}"
