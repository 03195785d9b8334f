"""Reports: from the rows of a run to numbers, tables, pages, verdicts and published results."""
