"""Where the parts of this checkout lie.

The launcher always runs from a checkout: its patches, templates and compose file are evidence.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "compose.yaml"
PATCHES = ROOT / "patches"
TEMPLATES = ROOT / "templates"
SYSTEMS = ROOT / "systems"
BUILD = ROOT / "build"
