"""The two benchmarks of the RFP and the facts that the rules fix for each."""

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the RFP and the MLPerf Training rules fix for one benchmark."""

    title: str
    quality_target: float  # eval_accuracy, as a fraction
    quality_name: str
    required_runs: int
    score_weight: float  # numerator of the RFP's formula, minutes
    convergence_unit: str  # what epoch_num of eval_accuracy counts
    eval_samples: int
    train_samples: int | None  # None where a run draws from more data than it can use
    workbook_cell: str  # takes seconds
    reference_subtree: str  # in mlcommons/training
    overlay: str  # of our implementation, under patches/<benchmark>/files


class Benchmark(enum.Enum):
    """A benchmark, by the name that MLLOG and the results tree use."""

    RESNET = "resnet"
    BERT = "bert"

    @classmethod
    def named(cls, name: object) -> "Benchmark | None":
        """Return the benchmark of a name, None where there is none."""
        return next((benchmark for benchmark in cls if benchmark.value == name), None)

    @property
    def facts(self) -> Facts:
        """Return what the rules fix for this benchmark."""
        return _FACTS[self]


# RFP: mlperf-task.txt; rules: training_rules.adoc at 6e668456, "Benchmarks" and "Scoring".
_FACTS = {
    Benchmark.RESNET: Facts(
        title="ResNet-50 v1.5 on ImageNet",
        quality_target=0.759,
        quality_name="top-1 accuracy",
        required_runs=5,
        score_weight=7.19,
        convergence_unit="epochs",
        eval_samples=50_000,
        train_samples=1_281_167,
        workbook_cell="C9",
        reference_subtree="image_classification",
        overlay="image_classification/pytorch",
    ),
    Benchmark.BERT: Facts(
        title="BERT-large on Wikipedia 2020/01/01",
        quality_target=0.72,
        quality_name="masked-LM accuracy",
        required_runs=10,
        score_weight=9.05,
        convergence_unit="samples",
        eval_samples=10_000,
        train_samples=None,
        workbook_cell="C8",
        reference_subtree="language_model/tensorflow/bert",
        overlay="language_model/pytorch/bert",
    ),
}
