"""All benchmarks of speed, one after another, each in a process of its own; their tables go into a page.

python benchmarks/bench.py [--output results/bench.md]
"""

import argparse
import subprocess
import sys
from pathlib import Path

from measure import put_between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default="results/bench.md")
    arguments = parser.parse_args()
    tables = []
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        done = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, text=True)
        # A benchmark may ask for what is not installed; the others go on, and the page says so.
        tables.append(
            done.stdout if not done.returncode else f"{path.name} ended with {done.returncode}; run it by itself.\n\n"
        )
        print(tables[-1])
    put_between(arguments.output, "".join(tables))


if __name__ == "__main__":
    main()
