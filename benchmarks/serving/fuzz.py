"""Generated requests against everything that the server's OpenAPI file describes, well and badly formed.

    python benchmarks/serving/fuzz.py [--cases 10000] [--seed 1] [--json FILE]

schemathesis makes the requests and judges the answers: no 5xx, no status, header, type or body that is not described,
bad data refused, other methods refused. What it would also like, that whatever fits the schema is accepted, no JSON
schema can say: a budget below `max_tokens`, a choice among the tools that are there.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from harness import HERE, Figure, parser_of, report, scripted_site

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
)  # fmt: skip
SURE_CASES = 6_500  # about as many come from the schema alone: bounds, missing fields, wrong types


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with scripted_site("--tokens-per-second", 0, "--obliging", core=None) as site:
        found, output = fuzz(f"http://127.0.0.1:{site.port}", arguments.cases, arguments.seed)
        unforeseen = site.log.count("unforeseen") + site.log.count("Traceback")
        alive = site.process.poll() is None
    if found["failures"]:
        print(output)
    figures = [
        Figure("operations", found["operations"], at_least=20),
        Figure("requests", found["cases"], at_least=arguments.cases),
        Figure("accepted", found["accepted"], at_least=arguments.cases / 20),
        Figure("kinds of failure", found["failures"], at_most=0),
        Figure("unforeseen errors in the log", unforeseen, at_most=0),
        Figure("the server runs", alive, at_least=1),
    ]
    return report("fuzz", figures, arguments)


def fuzz(url: str, cases: int, seed: int) -> tuple[dict[str, int], str]:
    """What came of it, and schemathesis' own report."""
    each = max(1, math.ceil((cases - SURE_CASES) / count_operations(url)))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "report.json"
        options = {
            "--checks": ",".join(CHECKS),
            "--phases": "examples,coverage,fuzzing",
            "--max-examples": each,
            "--seed": seed,
            "--report": "json",
            "--report-json-path": log,
        }
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json"]
        command += ["--continue-on-failure", "--no-color", *(part for pair in options.items() for part in pair)]
        done = subprocess.run(
            list(map(str, command)),
            cwd=folder,  # it keeps notes where it runs
            env={**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(HERE)},
            capture_output=True,
            text=True,
            check=False,
        )
        if not log.exists():
            raise SystemExit(f"schemathesis did not run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        told = json.loads(log.read_text())
    return summary_of(told), done.stdout


def summary_of(told: dict[str, Any]) -> dict[str, int]:
    cases = told["test_cases"]
    accepted = [rate["accepted"] for phases in told["valid_rates"].values() for rate in phases.values()]
    return {
        "operations": told["operations"]["tested"],
        "cases": cases["generated"],
        "accepted": sum(accepted),
        "failures": cases["unique_failures"] + cases["errored"] + len(told["errors"]),
    }


def count_operations(url: str) -> int:
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=30) as answer:
        return sum(len(methods) for methods in json.load(answer)["paths"].values())


if __name__ == "__main__":
    raise SystemExit(main())
