"""Run, score and prove the MLPerf Training part of a GP2 RFP response on one GPU node."""

__version__ = "0.1.0"
