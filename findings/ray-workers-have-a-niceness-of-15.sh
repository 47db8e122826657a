#!/bin/sh
# Ray lowers the priority of every worker that it starts: a niceness of 15 above that of whoever started it.
#
# Version:   ray 2.60.0
# Expected:  tasks and actors of a local Ray compete for cores as the same work in the driver, or in processes of
#            `multiprocessing`, would.
# Behaviour: the driver keeps its niceness and workers add 15 to it, whatever the machine does. On idle cores it does not
#            show; beside other work of the usual priority Linux gives a worker of niceness 15 about a thirtieth of what
#            the others get, so models that are loaded in actors (generation of video, depth, training's loaders) seem to
#            hang while the machine is at 100 %; only a log file of the worker says so. RAY_worker_niceness=0 in the environment that
#            starts the local Ray leaves the priority as it is; the name is case-sensitive.
# Seen:      as it comes         driver 0, worker 15
#            under `nice -n 3`   driver 3, worker 18
#            niceness=0          driver 0, worker 0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "ray==2.60.0"
cat > "$folder/try.py" <<'PY'
import os
import sys

import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])


@ray.remote
def niceness():
    return os.nice(0)


print("driver", os.nice(0), "worker", ray.get(niceness.remote()))
PY
cd "$folder"
export RAY_USAGE_STATS_ENABLED=0
base=$(nice)
asked() { "$@" "$folder/venv/bin/python" try.py "$folder/ray" 2> "$folder/log" | tail -1; }
came=$(asked nice -n 0)
under=$(asked nice -n 3)
without=$(asked env RAY_worker_niceness=0)
printf '%s\n' "as it comes: $came" "under nice -n 3: $under" "RAY_worker_niceness=0: $without"
[ "$came" = "driver $base worker $((base + 15))" ]
[ "$under" = "driver $((base + 3)) worker $((base + 18))" ]
[ "$without" = "driver $base worker $base" ]
