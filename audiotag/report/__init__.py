"""One page about a run, for a person: `report.html`, its figures, and the labels that are worth an ear."""
