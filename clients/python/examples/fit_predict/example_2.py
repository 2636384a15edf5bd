"""Fits many models at once, each with parameters of its own, and shows how they get on.

python example_2.py --count 20
"""

import argparse
import asyncio
import sys
from pathlib import Path

import longshore
from longshore import aio

HERE = Path(__file__).parent


def parameters(number):
    return {"learning_rate": round(0.02 * (1 + number % 10), 3), "max_depth": 2 + number // 10}


class Table:
    """One line per fit: redrawn on a terminal, written once it has ended elsewhere."""

    def __init__(self, calls):
        self._lines = {call.id: "queued" for call in calls}
        self._drawn = False

    def update(self, call_id, text, ended=False):
        self._lines[call_id] = text
        if sys.stdout.isatty():
            self._draw()
        elif ended:
            print(f"{call_id}  {text}", flush=True)

    def _draw(self):
        if self._drawn:
            print(f"\x1b[{len(self._lines)}A", end="")
        self._drawn = True
        for call_id, text in self._lines.items():
            print(f"\x1b[2K{call_id}  {text}")


async def follow(call, number, table):
    """Tells the table of each change; answers whether it went well."""
    shown = " ".join(f"{name}={value}" for name, value in parameters(number).items())
    async for event in call.task.watch():
        if isinstance(event, longshore.TaskChanged):
            state = longshore.state_name(event.task.state)
            waits = f"  {event.task.wait.message}" if event.task.wait.message else ""
            if not longshore.is_terminal(event.task):
                table.update(call.id, f"{shown}  {state}{waits}")
    try:
        result = await call.result()
    except longshore.TaskFailed as error:
        table.update(call.id, f"{shown}  failed     {error}", ended=True)
        return False
    table.update(call.id, f"{shown}  succeeded  accuracy {result['accuracy']:.3f}", ended=True)
    return True


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, default=HERE / "train.parquet")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--server", help="host:port (LONGSHORE_SERVER, else 127.0.0.1:50051)")
    options = parser.parse_args()
    async with aio.Client(options.server) as client:
        calls = [
            await client.start(
                "ml:fit",
                [options.train.name, "model.joblib"],
                parameters(number),
                project=HERE,
                name=f"fit {number}",
                labels={"sweep": "example_2"},
                inputs={options.train.name: options.train},
                outputs=["model.joblib"],
                cpu=1,
                ram="512MB",
                timeout="10m",
                preload=["sklearn.ensemble", "pandas"],
            )
            for number in range(options.count)
        ]
        table = Table(calls)
        went_well = await asyncio.gather(*(follow(call, number, table) for number, call in enumerate(calls)))
    print(f"{sum(went_well)} of {len(calls)} succeeded")
    return 0 if all(went_well) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
