"""How long the library takes to import, in a process of its own, against what it stands on.

python benchmarks/bench_import.py
"""

import subprocess
import sys

from against import in_turn, row, show


def main() -> None:
    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    rows = []
    for code, rival, reach in (
        ("import co3lib", "import numpy", None),
        ("from co3lib import CoSegmenter", "import torch", None),
    ):
        measured = in_turn(lambda c=code: run(c), lambda r=rival: run(r), 3)
        rows.append(row(f"`{code}`", measured, f"`{rival}`", reach))
    show("Import", rows)


if __name__ == "__main__":
    main()
