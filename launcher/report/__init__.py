"""The report: an answer to one page, in three spellings."""
