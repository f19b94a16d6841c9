"""The report: picks, scores and truth of a project on one page that needs nothing but itself."""
