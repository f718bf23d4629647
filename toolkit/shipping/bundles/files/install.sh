#!/bin/sh
# Install the bundle in this folder, after its self-test passed. Usage: sh install.sh --help
set -eu
umask 022
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

usage() {
  cat <<'END'
sh install.sh [ACTION] [OPTION...]

  install      (default) install this bundle next to earlier releases, run its self-test, then switch to it
  update       the same, but only if a release is already installed, and never back to a lower release number
  stage        install this bundle next to earlier releases and run its self-test, but do not switch to it
  switch       update, after stage
  confirm      after a switch that was killed: keep the release in use if it works, else go back to the previous one
  health       print the state of the service, how often it was restarted, and whether it answers
  restart      start the service again, also after systemd has given it up
  back         switch back to the previous release, which is not tested, because the one in use does not work
  rollback     switch back to the previous release, if its self-test passes
  status       show what is installed
  uninstall    remove everything that was installed

  --prefix DIR       folder to install to; default: /opt/edgepress/@NAME@ for root, else ~/.local/share/edgepress/@NAME@
  --python PYTHON    interpreter; default: the first of python3, python3.13, python3.11 that this bundle has packages for
  --system           use the packages that PYTHON already has: no virtual environment, no download
  --camera           let `run camera` use the system's picamera2 or OpenCV; NumPy and Pillow are then also the system's
  --service          also run `serve` as a system service (systemd; needs root)
  --port N           port of the service on 127.0.0.1; default: 8600
  --user NAME        user of the service; default: a dynamic user (DynamicUser)
  --memory SIZE      memory limit of the service; default: 512M
  --timer            also look for updates every hour (systemd; needs root and a bundle with updates)
  --trust-keys HASH  trust the keys of this bundle instead of those that this board has; the refusal says the hash
  --unit-dir DIR     folder of the service's unit; default: the one used before, else /etc/systemd/system

A bundle of the engine native has the model as C instead of packages: it is built here by a C compiler
(CC, cc, gcc or clang), and NumPy and Pillow are those that PYTHON already has.

A release that fails its self-test is removed, and the previous one stays in use. Exit codes: 0 done, 1 failed, 2 wrong usage;
of stage, switch and confirm also 3: the self-test says that it failed, or the service does not answer; 4: the self-test ended
without saying anything, as if it was killed.
END
}

say() { printf '%s\n' "$*"; }
told=''
quoted() { # WORD: as a shell takes it for one word
  case $1 in
    *[!A-Za-z0-9/._-]*) printf "'%s'\n" "$(printf '%s\n' "$1" | sed "s/'/'\\\\''/g")" ;;
    *) say "$1" ;;
  esac
}

die() { # MESSAGE [HINT]: ends with it, or with the cause of most errors
  told=yes
  if ! room; then failure=1 && set -- "The disk of $prefix is full." "Free some space, and run it again."; fi
  printf 'Error: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf '%s\n' "$2" >&2
  exit "$failure"
}
blame() { # CODE MESSAGE [HINT]: ends because of the release itself: 3 for sure, so that it is not tried again; 4 perhaps
  case $action in stage | switch | confirm) failure=$1 ;; esac
  shift
  die "$@"
}
room() { # whether a little more can be written; where nothing may be written, that is another error
  [ -n "$prefix" ] && [ -w "$prefix" ] || return 0
  room=yes
  dd if=/dev/zero of="$prefix/.room.$$" bs=65536 count=1 2>/dev/null || room=''
  rm -f -- "$prefix/.room.$$"
  [ -n "$room" ]
}
attempt() { # MESSAGE HINT COMMAND...: runs it, and ends with the message and what the command wrote if it fails
  message=$1 hint=$2
  shift 2
  if written=$("$@" 2>&1); then return; fi
  printf '%s\n' "$written" >&2
  case $written in *'No space left'* | *'quota exceeded'* | *'File too large'*)
    message="The disk of $prefix is full." hint='Free some space, and run it again.' ;;
  esac
  die "$message" "$hint"
}
misuse() {
  printf 'Error: %s\nSee: sh install.sh --help\n' "$1" >&2
  exit 2
}

failure=1 sums=edgepress/runtime/installed.py # what lists and compares the files of a release
action='' prefix='' python='' system='' camera='' service='' timer='' keys='' port=8600 user='' memory=512M unit_dir=''
while [ $# -gt 0 ]; do
  case $1 in
    install | update | stage | switch | confirm | health | restart | back | rollback | status | uninstall)
      [ -z "$action" ] || misuse "Two actions: $action and $1."
      action=$1 ;;
    --system) system=yes ;;
    --camera) camera=yes ;;
    --service) service=yes ;;
    --timer) timer=yes ;;
    --prefix | --python | --port | --user | --memory | --unit-dir | --trust-keys)
      if [ $# -lt 2 ] || [ -z "$2" ]; then misuse "$1 needs a value."; fi
      case $1 in
        --prefix) prefix=$2 ;;
        --python) python=$2 ;;
        --port) port=$2 ;;
        --user) user=$2 ;;
        --memory) memory=$2 ;;
        --unit-dir) unit_dir=$2 ;;
        --trust-keys) keys=$2 ;;
      esac
      shift ;;
    -h | --help) usage; exit 0 ;;
    *) misuse "Unknown argument: $1" ;;
  esac
  shift
done
action=${action:-install}
case $port in
  *[!0-9]* | 0* | ??????*) misuse "--port is $port; accepted: 1 to 65535." ;;
  *) [ "$port" -le 65535 ] || misuse "--port is $port; accepted: 1 to 65535." ;;
esac
case $user$memory in *[!A-Za-z0-9_-]*) misuse "--user or --memory contains invalid characters." ;; esac

if [ -z "$prefix" ]; then
  if [ -e "$here/interpreter" ]; then
    prefix=${here%/releases/*} # called from an installed release
  elif [ "$(id -u)" = 0 ]; then
    prefix=/opt/edgepress/@NAME@
  else
    prefix=${XDG_DATA_HOME:-$HOME/.local/share}/edgepress/@NAME@
  fi
fi
case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac
case $unit_dir in
  '') unit_dir=$(cat -- "$prefix/.units" 2>/dev/null) || unit_dir=/etc/systemd/system ;; # as it was installed
  /*) ;;
  *) unit_dir=$(pwd)/$unit_dir ;;
esac
case $python in /* | '') ;; */*) python=$(pwd)/$python ;; esac
if [ -e "$here/native/model.c" ]; then system=yes; fi # its packages are the system's
cd / # Python looks for modules in the current folder, which may be anybody's
unit=$unit_dir/edgepress-@NAME@.service
update_unit=$unit_dir/edgepress-@NAME@-update

release_of() { # current or previous: prints its folder's name, or nothing if it is not there or not complete
  case $1 in current) link=$prefix/current ;; *) link=$prefix/current/former ;; esac
  if [ -L "$link" ] && [ -e "$link/selftest.json" ]; then basename -- "$(readlink -- "$link")"; fi
}

link() { # LINK TARGET: changes the link in one step
  ln -sfn -- "$2" "$prefix/.link.$$"
  mv -fT -- "$prefix/.link.$$" "$prefix/$1"
}

flush() { # what was written survives a power failure before anything that is done afterwards
  sync -f -- "$prefix" 2>/dev/null || sync
}

remove() { # RELEASE: first what says that it is complete, so that no kill leaves half a release that seems whole
  rm -f -- "$prefix/releases/$1/selftest.json"
  rm -rf -- "$prefix/releases/$1"
}

prove() { # RELEASE: runs its self-test, which compares its files first; if it fails, sets why, and verdict: 3 if the answers
  # say so, else 4, such as for damaged files
  if "$prefix/releases/$1/run" selftest --json >"$prefix/.selftest.$$" && keep_report "$1"; then return; fi
  verdict=3
  why=$("$(cat -- "$prefix/releases/$1/interpreter")" -I -c '
import json, sys
found = json.load(sys.stdin)
failed = ["%(name)s: %(detail)s" % check for check in found.get("checks", ()) if not check["passed"]]
print(found["error"]["message"] if "error" in found else "; ".join(failed[:3]) + ".")
sys.exit(found.get("passed") is not False)' \
    <"$prefix/.selftest.$$" 2>/dev/null) || verdict=4
  [ -n "$why" ] || why='It ended without a result.'
  rm -f -- "$prefix/.selftest.$$"
  return 1
}

keep_report() { # RELEASE: the report of its first self-test says that it is complete
  [ ! -e "$prefix/releases/$1/selftest.json" ] || return 0
  "$(cat -- "$prefix/releases/$1/interpreter")" -I -B "$prefix/releases/$1/$sums" report "$prefix/releases/$1" \
    "$prefix/.selftest.$$" && mv -f -- "$prefix/.selftest.$$" "$prefix/releases/$1/selftest.json"
}

served() { # whether there is a service of this installation; that of another one with the same name is left alone
  [ -e "$unit" ] || return 1
  whose=$(sed -n 's|^ExecStart=\(/.*\)/current/run serve .*|\1|p' "$unit")
  [ -n "$whose" ] && [ "$(cd -- "$whose" 2>/dev/null && pwd -P)" = "$(cd -- "$prefix" && pwd -P)" ]
}

restart_service() { # succeeds when the service answers, or if there is none; 3: it was restarted and does not answer
  served || return 0
  systemctl reset-failed "edgepress-@NAME@.service" 2>/dev/null || true # starts before this one do not count
  systemctl restart "edgepress-@NAME@.service" || return 1
  answers 30
}

answers() { # SECONDS [once]: whether the service answers its health check in this time, in one try or many; if not, 3
  "$(cat -- "$prefix/current/interpreter")" -I -c '
import http.client, signal, sys, time
signal.signal(signal.SIGALRM, lambda *_: sys.exit(3))
signal.alarm(int(sys.argv[2]))
while True:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
        connection.request("GET", "/ready")
        status = connection.getresponse().status
        if status != 503: # that one has too many connections
            sys.exit(3 * (status != 200))
    except (OSError, http.client.HTTPException):
        pass
    if sys.argv[3:]:
        sys.exit(3)
    time.sleep(0.5)' "$(sed -n 's/.*--port \([0-9]*\).*/\1/p' "$unit")" "$@"
}

health() { # prints a state of systemd or "none", the number of restarts, and whether the service answers
  served || { say "none 0 no"; return; }
  state=$(systemctl is-active "edgepress-@NAME@.service") || true
  restarts=$(systemctl show --property NRestarts --value "edgepress-@NAME@.service") || restarts=0
  if answers 5 once; then answer=yes; else answer=no; fi
  say "${state:-unknown} ${restarts:-0} $answer"
}

restart() { # after systemd has given the service up
  restart_service || die "The service does not start." "See: journalctl -u edgepress-@NAME@.service"
}

back() {
  to=$(release_of previous)
  [ -n "$to" ] || die "There is no previous release in $prefix."
  link current "releases/$to"
  flush
  restart_service || die "$to was restored, and its service does not answer." "See: journalctl -u edgepress-@NAME@.service"
  say "$to is in use again."
}

# Every release has a link to the one that ran before it, so that the link `current` alone says which release runs and
# which one is the previous: both change in one step, and no kill leaves them at odds.
switch_to() { # RELEASE PREVIOUS: makes it current; switches back if its service does not start
  old=$(release_of current)
  if [ "$old" != "$1" ]; then
    case $action in install | rollback) [ -z "$old" ] || record_left "$old" "$1" ;; esac
    if [ -n "$2" ]; then link "releases/$1/former" "../$2"; else rm -f -- "$prefix/releases/$1/former"; fi
    flush
    link current "releases/$1"
    flush
  fi
  keep_or_return "$1" "$old"
}

# The updater reads .left: what a user has left does not come back by itself, however often the links change. A record of
# a higher number stays. Where nothing can be written, such as on a full disk, the link to the former release has to do.
record_left() { # RELEASE NEXT: the user leaves it by hand for one whose number is not higher
  "$(cat -- "$prefix/releases/$2/interpreter")" -I - "$prefix" "$1" "$2" "$action" 2>/dev/null <<'END' || true
import json, os, sys, time
prefix, old, new, action = sys.argv[1:]
def read(*path):
    try:
        with open(os.path.join(prefix, *path), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError): # missing or damaged
        return {}
left = read("releases", old, "MANIFEST.json")
number = left.get("release") or 0
if number and number >= max(each.get("release") or 0 for each in (read("releases", new, "MANIFEST.json"), read(".left"))):
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    path = os.path.join(prefix, ".left")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"release": number, "id": left["id"], "at": at, "by": action}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
END
}

settle() { # RELEASE PREVIOUS: it stays: nobody has left it, and no link leads from the previous one back to it
  taken=$(sed -n 's/.*"id": "\([0-9a-f]\{12\}\).*/\1/p' "$prefix/.left" 2>/dev/null) || true
  case $1 in "${taken:-none}"-* | "again-$taken"-*) rm -f -- "$prefix/.left" ;; esac
  if [ "$(readlink -- "$prefix/releases/$2/former" || true)" = "../$1" ]; then rm -f -- "$prefix/releases/$2/former"; fi
}

keep_or_return() { # RELEASE PREVIOUS: keeps it if its service answers, else makes the previous one current
  answer=0 logs="See: journalctl -u edgepress-@NAME@.service"
  restart_service || answer=$?
  if [ "$answer" = 0 ]; then settle "$1" "$2"; return 0; fi
  if [ -n "$2" ] && [ "$2" != "$1" ]; then
    link current "releases/$2"
    flush
    if restart_service; then
      [ "$answer" != 3 ] || blame 3 "The service does not start with $1; $2 was restored and runs." "$logs"
      die "The service could not be tested with $1; $2 was restored and runs." "$logs"
    fi
    die "The service can't be restarted, neither with $1 nor with $2, which was restored." "Run it as root. $logs"
  fi
  die "The service does not start." "$logs"
}

confirm() { # after a switch that was killed before the release had answered
  new=$(release_of current) back=$(release_of previous)
  [ -n "$new" ] || die "The release in use in $prefix is not complete."
  if served; then
    keep_or_return "$new" "$back"
  elif ! prove "$new"; then
    failed=$why
    if [ "$verdict" != 3 ] || [ -z "$back" ] || ! prove "$back"; then die "$new runs, and its self-test fails. $failed"; fi
    link current "releases/$back"
    flush
    blame 3 "$new fails its self-test on this machine; $back was restored. $failed"
  fi
  settle "$new" "$back"
  tidy
  say "$new works and stays in use."
}

# This machine's name, as in requirements-BOARD.txt. The code also runs on old versions of Python.
board_of() {
  "$1" -c '
import platform, sys
machine = platform.machine().lower()
kind = "pi" if machine.startswith(("arm", "aarch")) else "pc" if machine in ("x86_64", "amd64") else machine
print("%s%d-py%d%d" % ((kind, 64 if sys.maxsize > 2**32 else 32) + tuple(sys.version_info[:2])))'
}

find_python() { # sets python and board
  tried='' asked=${python:-python3}
  if [ -n "$python" ]; then set -- "$python"; else set -- python3 python3.13 python3.11; fi
  for candidate; do
    board=$(board_of "$candidate" 2>/dev/null) || continue
    if [ -n "$system" ] || [ -r "$here/requirements-$board.txt" ]; then
      python=$(command -v -- "$candidate")
      case $python in /*) ;; *) python=$(pwd)/$python ;; esac
      return
    fi
    tried="$tried $board"
  done
  [ -n "$tried" ] || die "Python was not found ($asked)." "Give its path: --python PATH"
  die "This bundle has no packages for this machine:$tried. It has them for: $(cd "$here" && echo requirements-*.txt)." \
    "Give another Python (--python PATH), build a bundle for this board, or use installed packages (--system)."
}

# Copies the files that the manifest lists, and checks their hashes.
copy_checked() { # RELEASE_FOLDER
  "$python" - "$here" "$1" <<'END'
import hashlib, json, os, sys
source, target = sys.argv[1:]
with open(os.path.join(source, "MANIFEST.json"), encoding="utf-8") as file:
    wanted = {item["path"]: item["sha256"] for item in json.load(file)["files"]}
for path in [*wanted, "MANIFEST.json"]:
    name, to = (os.path.join(folder, *path.split("/")) for folder in (source, target))
    digest = hashlib.sha256()
    try:
        if path.startswith("wheels/"):
            to = os.devnull
        else:
            os.makedirs(os.path.dirname(to), exist_ok=True)
        with open(name, "rb") as file, open(to, "wb") as out:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
                out.write(piece)
    except OSError as e:
        if not os.path.exists(name):
            sys.exit("Error: %s is missing. Unpack the bundle again." % name)
        sys.exit("Error: %s can't be copied to %s: %s.\nFree some space, or give another folder: --prefix DIR"
                 % (name, to, e.strerror))
    if digest.hexdigest() != wanted.get(path, digest.hexdigest()):
        sys.exit("Error: %s differs from its entry in MANIFEST.json. Unpack the bundle again." % name)
END
}

# Builds the library of the engine native from the C that was copied and compared with the manifest.
build_native() { # RELEASE_FOLDER
  "$python" -c 'import numpy, PIL' 2>/dev/null || die "NumPy or Pillow is missing for $python." \
    "Install them: sudo apt install python3-numpy python3-pil (Alpine: apk add py3-numpy py3-pillow)"
  release=$1
  compiler=${CC:-}
  for name in cc gcc clang; do
    if [ -z "$compiler" ] && command -v -- "$name" >/dev/null; then compiler=$name; fi
  done
  set -f # CC may have arguments, as in make, but no patterns of files
  # shellcheck disable=SC2086
  set -- $compiler
  set +f
  if [ $# -eq 0 ] || ! command -v -- "$1" >/dev/null; then
    die "A C compiler is missing (${CC:-cc gcc clang}), which builds the model on this machine." \
      "Install one: sudo apt install gcc libc6-dev (Alpine: apk add gcc musl-dev)"
  fi
  say "Building the model with $*"
  attempt "The model could not be built." "Try another compiler: CC=clang sh install.sh ..." \
    "$@" -std=c99 -O3 -fPIC -shared -o "$release/native/model.so" \
    "$release/native/model.c" "$release/native/about.c"
}

fill() { # RELEASE_FOLDER: copies the bundle's files and installs the packages
  release=$1
  if ! copy_checked "$release"; then
    told=yes
    exit 1
  fi
  chmod 755 "$release/install.sh" "$release/run"
  if [ -n "$system" ]; then
    if [ -e "$release/native/model.c" ]; then build_native "$release"; fi
    printf '%s\n' "$python" >"$release/interpreter"
    return
  fi
  set -- "$release/venv"
  case $board$camera in
    pi32-* | *yes) # NumPy and Pillow are the system's
      "$python" -c 'import numpy, PIL' 2>/dev/null || die "NumPy or Pillow is missing." \
        "Install them: sudo apt install python3-numpy python3-pil"
      set -- --system-site-packages "$@" ;;
  esac
  if [ -n "$camera" ]; then
    "$python" -c 'import importlib.util, sys; sys.exit(not any(map(importlib.util.find_spec, ("picamera2", "cv2"))))' ||
      die "$python has neither picamera2 nor OpenCV." \
        "Install one: sudo apt install --no-install-recommends python3-picamera2 (or python3-opencv)"
  fi
  attempt "The virtual environment could not be created." "Install: sudo apt install python3-venv" "$python" -m venv "$@"
  wanted=$release/requirements-$board.txt
  if [ -n "$camera" ]; then # the camera package is built for the system's NumPy; another version would break it
    sed '/^numpy==/d; /^pillow==/d' "$wanted" >"$release/venv/requirements.txt"
    wanted=$release/venv/requirements.txt
  fi
  set -- --only-binary=:all: --no-deps --require-hashes -r "$wanted"
  if [ -d "$here/wheels" ]; then set -- --no-index --find-links "$here/wheels" "$@"; fi
  say "Installing the packages for $board"
  attempt "The packages could not be installed." \
    "Check the network and the clock (it is $(date)), or build the bundle with --offline --board $board." \
    "$release/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  [ -z "$written" ] || printf '%s\n' "$written" >&2
  printf '%s\n' "$release/venv/bin/python" >"$release/interpreter"
}

seal() { # RELEASE_FOLDER: compiles the runtime, so that no later run adds bytecode, and lists all files with their sums
  attempt "The runtime could not be compiled." "Unpack the bundle again." "$python" -I -m compileall -q "$1/edgepress"
  attempt "The files of the release could not be listed." "Unpack the bundle again." "$python" -I -B "$1/$sums" write "$1"
}

install_service() {
  case $prefix in *[!A-Za-z0-9/._-]*) die "$prefix contains characters that are invalid in a service's unit." ;; esac
  if [ -n "$user" ]; then who="User=$user"; else who="DynamicUser=yes"; fi
  case $prefix in /home/* | /root/*) home=read-only ;; *) home=yes ;; esac
  sed -e "s|%PREFIX%|$prefix|" -e "s|%PORT%|$port|" -e "s|%USER%|$who|" -e "s|%HOME%|$home|" -e "s|%MEMORY%|$memory|" \
    "$prefix/current/service.unit" >"$unit.new" || die "$unit can't be written." "Run it as root: sudo sh install.sh ..."
  mv -f -- "$unit.new" "$unit"
  printf '%s\n' "$unit_dir" >"$prefix/.units"
  if ! systemctl daemon-reload; then
    rm -f -- "$unit"
    die "The service could not be created; everything else is installed." "Without systemd: $(quoted "$prefix/current/run") serve --port $port"
  fi
  systemctl enable --quiet "edgepress-@NAME@.service"
  restart_service || die "The service does not start." "See: journalctl -u edgepress-@NAME@.service"
  say "The service edgepress-@NAME@ answers on 127.0.0.1:$port."
}

check_timer() { # ends with an error if the timer of this bundle could not update anything, or would run other users' code
  [ -e "$here/timer.unit" ] || die "This bundle has no updates." "Build it with: edgepress bundle --updates FOLDER"
  "$python" -I -c 'import json, sys; sys.exit(not json.load(open(sys.argv[1]))["url"])' "$here/updates/settings.json" ||
    die "This bundle does not say where its updates are." \
      "Build it with --updates and a folder of: edgepress publish init --url ADDRESS. Or call: run update --from ADDRESS"
  case $prefix in *[!A-Za-z0-9/._-]*) die "$prefix contains characters that are invalid in a unit." ;; esac
  folder=$(cd -- "$prefix" && pwd -P)
  while :; do
    [ -n "$(find "$folder" -prune \( -user 0 -o -user "$(id -u)" \) \( ! -perm -0002 ! -perm -0020 -o -perm -1000 \))" ] ||
      die "$folder can be written by others, whose code the timer would run." "Choose another folder, such as: --prefix /opt/edgepress/@NAME@"
    [ "$folder" != / ] || return 0
    folder=$(dirname -- "$folder")
  done
}

install_timer() {
  sed "s|%PREFIX%|$prefix|g" "$prefix/current/update.unit" >"$update_unit.service.new" ||
    die "$update_unit.service can't be written." "Run it as root: sudo sh install.sh ..."
  cp -- "$prefix/current/timer.unit" "$update_unit.timer.new"
  mv -f -- "$update_unit.service.new" "$update_unit.service"
  mv -f -- "$update_unit.timer.new" "$update_unit.timer"
  if served; then # after three starts in ten minutes, the update begins: it goes back, or starts the service again
    mkdir -p -- "$unit.d"
    printf '[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=3\nOnFailure=%s\n' \
      "edgepress-@NAME@-update.service" >"$unit.d/update.conf"
  fi
  printf '%s\n' "$unit_dir" >"$prefix/.units"
  systemctl daemon-reload
  systemctl enable --quiet --now "edgepress-@NAME@-update.timer" ||
    die "The timer does not start." "See: systemctl status edgepress-@NAME@-update.timer"
  say "Updates are looked for every hour. See: $(quoted "$prefix/current/run") status"
}

number_of() { # FOLDER: prints the number of its release, or 0
  "$python" -I -c 'import json, sys; print(json.load(open(sys.argv[1])).get("release") or 0)' "$1/MANIFEST.json" 2>/dev/null || echo 0
}

tidy() { # removes remains of killed installations, and all releases except the current and the previous one
  for folder in "$prefix/releases"/*; do
    case ${folder##*/} in
      "$(release_of current)" | "$(release_of previous)") ;;
      *) remove "${folder##*/}" ;;
    esac
  done
  rm -f -- "$prefix"/.link.* "$prefix"/.selftest.* "$prefix"/.room.* "$prefix/.left.new"
}

unfinished=''
at_exit() {
  ended=$?
  if [ "$ended" != 0 ] && [ -z "$told" ]; then
    if room; then
      printf 'Error: A step failed; its message is above. In use: %s\n' "$(release_of current)" >&2
    else
      printf 'Error: The disk of %s is full.\nFree some space, and run it again.\n' "$prefix" >&2
    fi
  fi
  rm -f -- "$prefix/.link.$$" "$prefix/.selftest.$$"
  if [ -n "$unfinished" ]; then remove "$unfinished"; fi
}

install_release() {
  if [ "$action" != install ] && [ -z "$(release_of current)" ]; then
    die "Nothing is installed in $prefix." "Run: sh install.sh install"
  fi
  case $here in "$prefix"/releases/*) die "$here is already installed." "Run install.sh of an unpacked bundle." ;; esac
  find_python
  [ -z "$timer" ] || check_timer
  id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["id"][:12])' "$here/MANIFEST.json" 2>/dev/null) ||
    die "$here/MANIFEST.json is missing or damaged." "Unpack the bundle again."
  if [ -n "$system" ]; then camera=''; else
    case $(release_of current) in *-camera) camera=yes ;; esac # an update keeps --camera
  fi
  new=$id-$board${system:+-system}${camera:+-camera}
  old=$(release_of current)
  if [ "$action" != install ]; then
    number=$(number_of "$here") installed=$(number_of "$prefix/current")
    [ "$number" -ge "$installed" ] || die "Release $number is older than release $installed, which is installed." \
      "To go back: sh $(quoted "$prefix/current/install.sh") rollback, or sh install.sh install"
  fi
  before=$old whole=''
  if [ -e "$prefix/releases/$new/selftest.json" ]; then # installed, and its self-test passed
    say "Running the self-test"
    if prove "$new"; then whole=yes; else say "$new is damaged and is installed again. $why"; fi
  fi
  if [ -z "$whole" ]; then
    case $(readlink -- "$prefix/current" || true) in # a damaged one runs until then, and is nothing to go back to
      "releases/$new") new=again-$new before=$(release_of previous) ;;
      "releases/again-$new") before=$(release_of previous) ;;
    esac
    remove "$new"
    unfinished=$new
    fill "$prefix/releases/$new"
    seal "$prefix/releases/$new"
    flush
    say "Running the self-test"
    prove "$new" || blame "$verdict" "$new fails its self-test on this machine and was not installed. $why" \
      "${old:+The installed release is unchanged: $old}"
    unfinished=''
  fi
  if [ "$action" = stage ]; then
    say "$new is installed beside ${old}, and its self-test passes."
    return
  fi
  if [ -e "$here/updates/root.json" ]; then
    told=yes # by the updater
    "$prefix/releases/$new/run" trust --trust-keys "$keys" || exit 1
    told=''
  fi
  switch_to "$new" "$before"
  if [ "$(readlink -- "$prefix/previous" || true)" != current/former ]; then link previous current/former; fi
  tidy
  if [ -n "$service" ]; then install_service; fi
  if [ -n "$timer" ]; then install_timer; fi
  success="@NAME@ $id is installed in $prefix, and its self-test passes."
  if [ -d "$here/samples" ]; then
    sample=$prefix/current/samples/$(cd "$here/samples" && echo 0.*)
    say "$success Try:"
    say "  $(quoted "$prefix/current/run") classify $(quoted "$sample")"
  else
    say "$success"
  fi
}

rollback() {
  back=$(release_of previous)
  [ -n "$back" ] || die "There is no previous release in $prefix."
  prove "$back" || die "$back fails its self-test on this machine; $(release_of current) stays in use. $why"
  from=$(release_of current)
  switch_to "$back" "$from"
  say "Switched @NAME@ back to $back from $from."
}

status() {
  [ -n "$(release_of current)" ] || die "Nothing is installed in $prefix."
  say "current: $(release_of current)"
  say "previous: $(release_of previous)"
  if [ -e "$unit" ]; then say "service: $(systemctl is-active "edgepress-@NAME@.service" || true)"; fi
}

uninstall() {
  if [ -e "$unit" ]; then
    systemctl disable --quiet --now "edgepress-@NAME@.service" || true
    rm -f -- "$unit" "$unit.new" "$unit.d/update.conf"
    if [ -d "$unit.d" ]; then rmdir -- "$unit.d" 2>/dev/null || true; fi
    systemctl daemon-reload || true
  fi
  if [ -e "$update_unit.timer" ]; then
    systemctl disable --quiet --now "edgepress-@NAME@-update.timer" || true
    rm -f -- "$update_unit.timer" "$update_unit.service"
    systemctl daemon-reload || true
  fi
  rm -f -- "$prefix/current" "$prefix/previous"
  rm -rf -- "$prefix/releases" "$prefix/updates"
  rm -f -- "$prefix"/.link.* "$prefix"/.selftest.* "$prefix"/.room.* "$prefix/.edgepress" "$prefix/.lock" "$prefix/.units" "$prefix"/.left*
  rmdir -- "$prefix" 2>/dev/null || say "$prefix contains other files and was kept."
  say "Removed @NAME@ from $prefix."
}

case $action in
  install | update | stage | switch) mkdir -p -- "$prefix/releases" || die "$prefix can't be created." "Give another folder: --prefix DIR" ;;
  *) [ -d "$prefix/releases" ] || [ -e "$prefix/.edgepress" ] || die "Nothing is installed in $prefix." ;;
esac
case $action in status | health) # these change nothing, and wait for nobody
  "$action"
  exit ;;
esac
command -v flock >/dev/null || die "flock is missing." "Install: sudo apt install util-linux"
[ -w "$prefix" ] || die "$prefix can't be written." "Give another folder: --prefix DIR"
(umask 077 && : >>"$prefix/.lock") && chmod 600 -- "$prefix/.lock" # whoever can read it can lock it
exec 9>"$prefix/.lock"
flock -n 9 || die "Another installation is running in $prefix." "Wait until it has finished."
trap at_exit EXIT
trap 'told=yes; exit 1' HUP INT TERM
owner=$(cat -- "$prefix/.edgepress" 2>/dev/null || true) # only folders of this application may be changed
if [ -z "$owner" ] && [ -z "$(ls -A -- "$prefix/releases")" ]; then
  owner=@NAME@
  printf '%s\n' "$owner" >"$prefix/.edgepress"
  flush
fi
[ "$owner" = @NAME@ ] || die "$prefix contains ${owner:-releases of something else}, not @NAME@." \
  "Give another folder: --prefix DIR"
case $action in
  install | update | stage | switch) install_release ;;
  *) "$action" ;;
esac
