"""What single nodes reached in public: context for a reader, never a target and never a check.

Minutes computed from the logs of mlcommons/training_results_v4.0 (commit 6fe9543): olympic means,
raw, and multiplied by the published scaling factors.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One submitter's ResNet and BERT on one kind of node, MLPerf Training v4.0, closed."""

    name: str
    resnet: float  # minutes, normalised
    bert: float

    @property
    def score(self) -> float:
        """The RFP's score of these minutes."""
        return 7.19 / self.resnet + 9.05 / self.bert


NODES = (
    Published(name="NVIDIA, 8x H200", resnet=12.0776, bert=5.2117),
    Published(name="Supermicro 421GE, 8x H100", resnet=13.30, bert=5.306),
    Published(name="HPE XD670, 8x H100", resnet=13.677, bert=5.327),
    Published(name="ASUSTeK ESC8000A, 8x H100 PCIe", resnet=20.832, bert=11.122),
    Published(name="Dell XE8640, 4x H100", resnet=26.882, bert=10.188),
    Published(name="Dell R760xa, 4x L40S", resnet=85.960, bert=82.697),
)
