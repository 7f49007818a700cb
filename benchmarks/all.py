"""Every benchmark in turn, then results/performance.md: python benchmarks/all.py [--quick]

Beauty's whole pipeline and the exactness of the beam take longer or need a trained model: see pipeline.py and beam_search.py."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("training", "beam_search", "trie", "tokenizer", "text", "pipeline")
QUICK = {"training": "--rounds 1 --seconds 0.1 --users 1600", "beam_search": "--rounds 1 --seconds 0.1 --users 1600",
         "trie": "--rounds 1 --seconds 0.05", "tokenizer": "--rounds 1 --seconds 0.1 --users 1600",
         "text": "--rounds 1 --number 64", "pipeline": "--epochs 1"}


def main():
    folder = Path(__file__).parent
    for name in SCRIPTS:
        print(name, file=sys.stderr, flush=True)
        subprocess.run([sys.executable, str(folder / f"{name}.py"), *(QUICK[name].split() if "--quick" in sys.argv else [])], check=True)
    subprocess.run([sys.executable, str(folder / "write.py")], check=True)


if __name__ == "__main__":
    main()
