"""Values in, values out: no files, no clock, no network, standard library only."""
