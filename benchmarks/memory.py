"""The memory's figures from the shell: python benchmarks/memory.py [--json].

The work is in mirage.evaluation.speed.memory_speed."""

import json
import sys

from mirage.evaluation.speed.memory_speed import run, table

if __name__ == "__main__":
    result = run()
    print(json.dumps(result) if "--json" in sys.argv[1:] else table(result))
