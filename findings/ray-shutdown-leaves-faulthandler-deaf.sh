#!/bin/sh
# After ray.shutdown() a fatal signal is reported by nobody, and faulthandler.enable() does not change that.
#
# Version:   ray 2.60.0, CPython 3.11
# Expected:  a driver that enabled faulthandler (as pytest does, and long trainings and soaks) says where it crashed,
#            whether or not it had used Ray before; at the latest after faulthandler.enable() is called once more.
# Behaviour: ray.shutdown() sets SIGSEGV and its like back to what the system does by default. CPython believes that
#            faulthandler is still enabled, is_enabled() says so, and enable() installs nothing again. The process ends by
#            the signal without a word, and so do children that are forked from it. disable(), then enable() mends it.
# Seen:      no ray: 1 report; ray.shutdown(), enable(): is_enabled True, 0 reports; disable() and enable(): 1 report
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "ray==2.60.0"
cat > "$folder/try.py" <<'PY'
import faulthandler
import signal
import sys

faulthandler.enable()
if "ray" in sys.argv:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
    ray.shutdown()
    print("is_enabled", faulthandler.is_enabled(), flush=True)
if "again" in sys.argv:
    faulthandler.disable()
faulthandler.enable()
signal.raise_signal(signal.SIGSEGV)
PY
cd "$folder"
export RAY_USAGE_STATS_ENABLED=0
reports() { "$folder/venv/bin/python" try.py "$folder/ray" "$@" > out 2>&1 || true; grep -c "Fatal Python error" out || true; }
without=$(reports)
with=$(reports ray)
grep -q "is_enabled True" out
again=$(reports ray again)
printf '%s\n' "no ray: $without" "ray.shutdown(), enable(): $with" "disable(), enable(): $again"
[ "$without" = 1 ]
[ "$with" = 0 ]
[ "$again" = 1 ]
