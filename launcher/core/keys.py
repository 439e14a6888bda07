"""The MLLOG keys that the launcher reads, by what they are for."""

from collections.abc import Mapping

from launcher.core.benchmark import Benchmark

# mlperf-logging training_4.0.0/closed_{resnet,bert}.yaml and 3.1.0/closed_resnet_{lars,sgd}.yaml,
# and what published logs hold besides.
HYPERPARAMETERS: Mapping[Benchmark, tuple[str, ...]] = {
    Benchmark.RESNET: (
        "global_batch_size",
        "gradient_accumulation_steps",
        "opt_name",
        "lars_opt_base_learning_rate",
        "lars_opt_end_learning_rate",
        "lars_opt_learning_rate_decay_poly_power",
        "lars_opt_learning_rate_decay_steps",
        "lars_epsilon",
        "lars_opt_learning_rate_warmup_epochs",
        "lars_opt_momentum",
        "lars_opt_weight_decay",
        "sgd_opt_base_learning_rate",
        "sgd_opt_end_learning_rate",
        "sgd_opt_learning_rate_decay_poly_power",
        "sgd_opt_learning_rate_decay_steps",
        "sgd_opt_momentum",
        "sgd_opt_weight_decay",
        "opt_learning_rate_warmup_epochs",
        "model_bn_span",
    ),
    Benchmark.BERT: (
        "global_batch_size",
        "gradient_accumulation_steps",
        "opt_name",
        "opt_base_learning_rate",
        "opt_lamb_epsilon",
        "opt_lamb_beta_1",
        "opt_lamb_beta_2",
        "opt_lamb_weight_decay_rate",
        "opt_lamb_learning_rate_decay_poly_power",
        "opt_learning_rate_training_steps",
        "opt_learning_rate_warmup_steps",
        "num_warmup_steps",
        "start_warmup_step",
        "max_sequence_length",
        "max_predictions_per_seq",
    ),
}
FACTS = (
    "submission_benchmark",
    "submission_org",
    "submission_division",
    "submission_status",
    "submission_platform",
    "train_samples",
    "eval_samples",
)
MARKS = ("cache_clear", "init_start", "init_stop", "run_start", "run_stop", "seed")
ACCURACY = "eval_accuracy"
ALL = frozenset((*MARKS, ACCURACY, *FACTS)).union(*HYPERPARAMETERS.values())
