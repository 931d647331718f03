"""How long `zoo.create` of an int8 name and its first answer take in a fresh process, on top of `import torch`.

python benchmarks/first_answer.py [NAME] [--rounds 7]
"""

import statistics
import subprocess
import sys
from typing import Annotated

import typer

CHILD = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
begin = time.perf_counter()
import zoo
model = zoo.create(sys.argv[1])
with torch.inference_mode():
    model(torch.zeros(1, 3, *model.spec.input.size))
print(time.perf_counter() - begin)
"""


def main(name: Annotated[str, typer.Argument()] = "mobilenet-int8", rounds: int = 7) -> None:
    taken = []
    for _ in range(rounds + 1):
        done = subprocess.run([sys.executable, "-c", CHILD, name], capture_output=True, text=True, check=True)
        taken.append(float(done.stdout))
    times = sorted(taken[1:])  # the first fills the page cache
    print(f"{name}: {statistics.median(times):.3f} s (fastest {times[0]:.3f}) over {rounds} fresh processes")


if __name__ == "__main__":
    typer.run(main)
