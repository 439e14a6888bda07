"""BERT's configurations, rendered with the launcher's own presets, and runs of its program."""

from launcher.core import presets
from launcher.core.benchmark import Benchmark
from tests.patches.program import ROOT, Program, losses, records, values

__all__ = ["PROGRAM", "REAL", "environment", "losses", "records", "render", "run_program", "values"]

FOLDER = ROOT / "patches/bert/files/language_model/pytorch/bert"
PROGRAM = Program(folder=FOLDER, imports=FOLDER.parent, template="bert.yaml.j2")
environment, run_program = PROGRAM.environment, PROGRAM.run
REAL = next(
    row
    for row in presets.TABLE
    if row.benchmark is Benchmark.BERT and row.hyperparameters["global_batch_size"] == 768
)


def render(*, rehearsal=True, accelerators=None, hyperparameters=None, training=None):
    """Render the template with a preset of the launcher's."""
    preset = presets.REHEARSALS[Benchmark.BERT] if rehearsal else REAL
    return PROGRAM.render(
        preset=preset,
        rehearsal=rehearsal,
        accelerators=preset.accelerators if accelerators is None else accelerators,
        hyperparameters={**preset.hyperparameters, **(hyperparameters or {})},
        training={**preset.training, **(training or {})},
        notes={},
    )
