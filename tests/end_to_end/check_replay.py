"""Every strategy file over a whole price file, twice, and whether the two reports are equal to the last byte.

`python -m tests.end_to_end.check_replay --prices FILE [--evaluators 1 8]`: the long form of `test_rule_files.py`. With
different numbers of evaluators only what was traded is compared: each evaluator counts its own looks.
"""

import argparse
import difflib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.end_to_end.replays import STRATEGY_FILES, normalised, replay


def main(arguments: Sequence[str] | None = None) -> int:
    """Two whole runs and their comparison; exit code 0 when they are equal."""
    parser = argparse.ArgumentParser(description="Run every strategy file twice in lockstep and compare the reports.")
    parser.add_argument("--prices", type=Path, required=True, help="a price file, as for `trimtab demo`")
    parser.add_argument("--evaluators", type=int, nargs=2, default=(1, 1), metavar="N", help="of the first and second")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds that one run may take")
    options = parser.parse_args(arguments)
    texts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="trimtab-replay-") as folder:
        for number, evaluators in enumerate(options.evaluators):
            prices = options.prices.absolute()
            run = replay(
                Path(folder) / str(number), prices, STRATEGY_FILES, evaluators=evaluators, timeout_s=options.timeout
            )
            report = run.report
            if len(set(options.evaluators)) > 1:
                report = {**report, "decisions": {}}
            texts.append(normalised(report))
            _say(
                f"{report['prices']['first'][:10]} to {report['prices']['last'][:10]}, {evaluators} evaluator(s): "
                f"{report['lockstep']['rows']} rows, {report['plans']} plans, {report['orders']['sent']} orders, "
                f"{report['fills']} fills, {sum(run.report['decisions'].values())} decisions, {report['wall_s']} s, "
                f"balanced {report['ledger']['balanced']}, equals the venue {report['ledger']['equals_venue']}"
            )
    first, second = (text.splitlines() for text in texts)
    difference = list(difflib.unified_diff(first, second, "first", "second", lineterm="", n=1))
    _say("\n".join(difference) if difference else f"equal: {len(texts[0].encode())} bytes of report")
    return 1 if difference else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
