"""A copy of a response in the hands of somebody who covers traces."""

import json
import shutil

from launcher import filetree, package, workbook, xlsx
from tests import recorded


class Forger:
    """Changes a copy of the response, and covers the traces as far as a forger would."""

    def __init__(self, root):
        self.root = root

    def run(self, benchmark, number):
        return self.root / "ledger" / benchmark.value / f"run_{number}"

    def copy(self, benchmark, number):
        [folder] = (self.root / "mlperf").glob(f"*/results/*/{benchmark.value}")
        return folder / f"result_{number}.txt"

    def ledger(self, benchmark, change):
        recorded.reseal(self.root / "ledger" / benchmark.value / "ledger.jsonl", change)

    def edit_log(self, benchmark, number, change, *, cover=False):
        """Change a log in both places; with `cover`, mend exit.json and the whole ledger, too."""
        log = self.run(benchmark, number) / "result.txt"
        log.write_bytes(change(log.read_bytes()))
        shutil.copy(log, self.copy(benchmark, number))
        if cover:
            digest, size = filetree.sha256(log), log.stat().st_size
            self.edit_exit(benchmark, number, log_sha256=digest, log_bytes=size)

    def edit_exit(self, benchmark, number, **fields):
        """Change exit.json and everything in the ledger that repeats it."""
        path = self.run(benchmark, number) / "exit.json"
        ended = json.loads(path.read_text()) | fields
        path.write_text(json.dumps(ended))

        def change(records):
            for record in records:
                if record["event"] == "run_end" and record["payload"]["run"] == number:
                    record["payload"] = ended
                if record["event"] == "complete":
                    record["payload"]["logs"][str(number)] = ended["log_sha256"]
            return records

        self.ledger(benchmark, change)

    def edit_json(self, path, change):
        path = self.root / path
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    def cells(self, **values):
        path = self.root / "Benchmark_Results.xlsx"
        path.write_bytes(xlsx.write(path.read_bytes(), workbook.SHEET, values))

    def sign(self):
        (self.root / "MANIFEST.sha256").write_text(package.manifest(self.root))
