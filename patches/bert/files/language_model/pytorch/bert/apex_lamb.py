"""LAMB by apex's kernels on our own buffers: the equation of `lamb`, one kernel per half of it.

They are the kernels of apex.optimizers.FusedMixedPrecisionLamb (csrc/multi_tensor_lamb_mp.cu),
called on views of the flat buffers, variable by variable of the reference: so fused Q, K and V keep
a ratio each, rate and step stay on the device, and it can be captured. They know no shares.
"""

import torch
from bert.flat import Flat
from bert.lamb import Lamb
from torch import Tensor

DECOUPLED = 1  # adamMode_t: weight decay joins the update, not the gradient


class ApexLamb:
    """Computes a step of `lamb`, which has all variables, with apex's kernels.

    Raises ImportError where apex, or its CUDA part, is absent, and ValueError for a share.
    """

    def __init__(self, lamb: Lamb, flat: Flat) -> None:
        from amp_C import multi_tensor_lamb_mp  # noqa: PLC0415 - only some images carry apex
        from apex.multi_tensor_apply import multi_tensor_applier  # noqa: PLC0415

        if lamb.shares > 1:
            raise ValueError("apex's kernels take whole variables, but this rank has a share")
        self.apply, self.kernel, self.lamb = multi_tensor_applier, multi_tensor_lamb_mp, lamb
        device = lamb.master.device
        self.gradients = torch.zeros_like(lamb.master)  # the kernels leave their update here
        self.nothing_skipped = torch.zeros(1, dtype=torch.int32, device=device)
        self.zero, self.one = (torch.full((1,), value, device=device) for value in (0.0, 1.0))
        self.no_clipping = torch.full((1,), float("inf"), device=device)  # `update` has clipped
        buffers = (self.gradients, lamb.master, lamb.m, lamb.v)
        self.groups: list[tuple[bool, list[list[Tensor]]]] = [
            (
                adapted,
                [
                    [
                        buffer[start:stop]
                        for variable, (start, stop) in zip(flat.variables, flat.spans, strict=True)
                        if variable.adapted is adapted
                    ]
                    for buffer in buffers
                ],
            )
            for adapted in (True, False)
        ]

    def __call__(self, gradients: Tensor, now: Tensor) -> None:
        """Update master weights and moments; `now` is this step's row of the table."""
        values = self.lamb.values
        self.gradients.copy_(gradients)
        rate, step = now[:1], self.lamb.steps_taken.int()  # counted already: 1, 2, ...
        for adapted, lists in self.groups:
            self.apply(
                self.kernel,
                self.nothing_skipped,
                lists,
                rate,
                values.opt_lamb_beta_1,
                values.opt_lamb_beta_2,
                values.opt_lamb_epsilon,
                step,
                1,  # correct the bias
                values.opt_lamb_weight_decay_rate if adapted else 0.0,
                1,  # average: m takes (1 - b1) g
                DECOUPLED,
                self.zero,  # the global norm, for clipping
                self.no_clipping,
                adapted,  # use_nvlamb: a ratio whatever the decay
                self.zero,  # nothing was infinite
                self.one,  # nothing to unscale
            )
