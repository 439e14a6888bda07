"""Preparation of data sets: raw downloads to the forms of docs/architecture.md, verified."""
