"""The seam to containers: one protocol, Docker behind it, and plain processes for rehearsals."""
