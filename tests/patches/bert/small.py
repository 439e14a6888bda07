"""Small configurations for the tests of the BERT program. Sizes that divide nothing evenly."""

from dataclasses import replace

import torch
from bert import attention
from bert.config import Config, Hyperparameters, Precision, Sizes, Submission, Training
from bert.model import Bert, initialise

from pytorch_common.distributed import Process

CPU = torch.device("cpu")
ALONE = Process(rank=0, local_rank=0, world_size=1, device=CPU)


def config(*, hyperparameters=None, training=None, model=None, **others):
    return replace(
        Config(
            benchmark="bert",
            implementation="pytorch",
            rehearsal=True,
            preset="test",
            accelerators=0,
            submission=Submission(org="O", division="closed", status="research", platform="P"),
            hyperparameters=replace(
                Hyperparameters(
                    global_batch_size=8,
                    gradient_accumulation_steps=1,
                    max_sequence_length=32,
                    max_predictions_per_seq=5,
                    opt_name="lamb",
                    opt_base_learning_rate=0.02,
                    opt_lamb_epsilon=1e-6,
                    opt_lamb_beta_1=0.9,
                    opt_lamb_beta_2=0.98,
                    opt_lamb_weight_decay_rate=0.01,
                    opt_lamb_learning_rate_decay_poly_power=1.0,
                    opt_learning_rate_training_steps=20,
                    opt_learning_rate_warmup_steps=0,
                    num_warmup_steps=0,
                    start_warmup_step=0,
                ),
                **(hyperparameters or {}),
            ),
            training=replace(
                Training(eval_samples=0, eval_every_samples=80, precision=Precision.FP32),
                **(training or {}),
            ),
            model=replace(
                Sizes(
                    vocab_size=101,
                    hidden_size=24,
                    num_hidden_layers=2,
                    num_attention_heads=3,
                    intermediate_size=40,
                    max_position_embeddings=32,
                    hidden_dropout_prob=0.0,
                    attention_probs_dropout_prob=0.0,
                    initializer_range=0.3,
                ),
                **(model or {}),
            ),
        ),
        **others,
    )


def network(config, route="sdpa", *, subset=True, seed=0):
    model = Bert(
        config.model,
        attention.ROUTES[route],
        needs_mask=route in attention.NEEDS_MASK,
        last_layer_subset=subset,
    )
    initialise(model, torch.Generator().manual_seed(seed))
    return model
